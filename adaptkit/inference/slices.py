"""Every metric for each group of rows, with an interval, and the largest gap between two groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from adaptkit.data.tables import Table
from adaptkit.errors import AdaptkitError
from adaptkit.tasks.base import Task
from adaptkit.utils.terminal import format_table

MOST_SLICES = 100

RESAMPLES = 200


@dataclass(frozen=True)
class Interval:
    """A value with its 95 % interval when rows are resampled (percentile bootstrap, Efron 1979)."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Slice:
    """The rows with one value in a column: their number and metrics."""

    name: str
    rows: int
    metrics: dict[str, Interval]


def slices(
    task: Task, answers: list[dict[str, Any]], table: Table, values: Sequence[str], seed: int = 0
) -> list[Slice]:
    """One slice per value, the largest first, after a slice of all rows.

    Args:
        answers, table, values: one per row; rows as `Task.read` returns them.

    Raises:
        AdaptkitError: the column has too many different values.
    """
    names = np.asarray(values)
    check_values(table, values)
    found, counts = np.unique(names, return_counts=True)
    order = [str(found[i]) for i in np.argsort(-counts, kind="stable")]
    whole = _slice("all", task, answers, table, np.arange(len(table)), seed)
    return [
        whole,
        *(
            _slice(name, task, answers, table, np.flatnonzero(names == name), seed)
            for name in order
        ),
    ]


def check_values(table: Table, values: Sequence[str]) -> None:
    """Refuse a column with too many different values to read."""
    if (count := len(set(values))) > MOST_SLICES:
        raise AdaptkitError(
            f"{table.source}: {count} different values are no slices; at most {MOST_SLICES} are "
            "shown."
        )


def _slice(
    name: str,
    task: Task,
    answers: list[dict[str, Any]],
    table: Table,
    chosen: np.ndarray,
    seed: int,
) -> Slice:
    def score(indexes: np.ndarray) -> dict[str, float]:
        return task.score([answers[i] for i in indexes], table.take(indexes))

    values = score(chosen)
    random = np.random.default_rng(seed)
    again = [
        score(random.choice(chosen, len(chosen)))
        for _ in range(RESAMPLES if len(chosen) > 1 else 1)
    ]
    metrics = {}
    for metric, value in values.items():
        drawn = [one[metric] for one in again if metric in one and np.isfinite(one[metric])]
        low, high = np.percentile(drawn, [2.5, 97.5]) if drawn else (np.nan, np.nan)
        metrics[metric] = Interval(float(value), float(low), float(high))
    return Slice(name, len(chosen), metrics)


def largest_gap(found: list[Slice], metric: str) -> tuple[Slice, Slice] | None:
    """The slices with the highest and lowest value of a metric, or None for a single slice."""
    parts = [
        one for one in found[1:] if metric in one.metrics and np.isfinite(one.metrics[metric].value)
    ]
    if len(parts) < 2:
        return None
    ordered = sorted(parts, key=lambda one: one.metrics[metric].value)
    return ordered[-1], ordered[0]


def show(found: list[Slice], reported: Sequence[str], column: str) -> str:
    """A table of the slices, and the largest gap in the first metric."""
    metrics = [name for name in reported if name in found[0].metrics]
    rows = [(column, "rows", *metrics)]
    rows += [
        (one.name, str(one.rows), *(_cell(one.metrics.get(name)) for name in metrics))
        for one in found
    ]
    lines = [format_table(rows)]
    if metrics and (gap := largest_gap(found, metrics[0])):
        high, low = gap
        size = high.metrics[metrics[0]].value - low.metrics[metrics[0]].value
        lines.append(
            f"\nlargest gap in {metrics[0]}: {size:.4f}, between {high.name} and {low.name}"
        )
    return "\n".join(lines)


def _cell(interval: Interval | None) -> str:
    return (
        "-"
        if interval is None
        else f"{interval.value:.4f} ({interval.low:.4f} to {interval.high:.4f})"
    )
