"""Every metric for each group of rows, with an interval, and the largest gap between two groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from adaptkit.data.tables import Table
from adaptkit.errors import AdaptkitError
from adaptkit.metrics.bootstrap import Interval, intervals
from adaptkit.metrics.row_scores import RowScores
from adaptkit.tasks.base import Task
from adaptkit.tasks.classify import Classify
from adaptkit.utils.terminal import format_table

MOST_SLICES = 100

RESAMPLES = 200

# Metrics that are means over labels, or compare labels: in rows of one label they say how often
# another one was given, and how many others were.
OVER_LABELS = ("f1", "f1_semeval", "precision", "recall", "matthews_correlation")
ONE_LABEL = "-: every row of the group has the same label, so metrics over labels say nothing there"


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
    check_values(table, values)
    return [
        Slice(name, len(rows), intervals(scores_of(task, answers, table, rows), RESAMPLES, seed))
        for name, rows in groups(values, len(table))
    ]


def groups(values: Sequence[str], rows: int) -> list[tuple[str, np.ndarray]]:
    """The indexes of all rows, and of those with each value, the largest group first."""
    names = np.asarray(values)
    found, counts = np.unique(names, return_counts=True)
    order = [found[i] for i in np.argsort(-counts, kind="stable")]
    parts = [(str(name), np.flatnonzero(names == name)) for name in order]
    return [("all", np.arange(rows)), *parts]


def scores_of(
    task: Task, answers: list[dict[str, Any]], table: Table, rows: np.ndarray
) -> RowScores:
    """What some of the rows add to the metrics; no metrics over labels for a group of one label."""
    chosen = table.take(rows)
    scores = task.row_scores([answers[i] for i in rows], chosen)
    if len(rows) == len(table) or not _has_one_label(task, chosen):
        return scores

    def combine(*parts: Any) -> dict[str, float]:
        found = scores.combine(*parts)
        return {name: value for name, value in found.items() if name not in OVER_LABELS}

    return RowScores(scores.parts, combine)


def _has_one_label(task: Task, table: Table) -> bool:
    labels = {task.reference_text(row) for row in table.rows}
    return isinstance(task, Classify) and len(labels) == 1


def values_of(task: Task, by: str, table: Table, rows: Table) -> list[str]:
    """The value of a column in each row of a file, checked to be those of the rows that were read.

    Raises:
        AdaptkitError: the column does not exist, or has too many different values; or the task
            reads several rows, or a part of one, where the file has one.
    """
    table.need(by, "by")
    values = [str(row.get(by)) for row in table.rows]
    if len(values) != len(rows):
        raise AdaptkitError(
            f"{task.name} reads {len(rows)} questions in {len(values)} rows: slices want one "
            "in each."
        )
    check_values(table, values)
    return values


def check_values(table: Table, values: Sequence[str]) -> None:
    """Refuse a column with too many different values to read."""
    if (count := len(set(values))) > MOST_SLICES:
        raise AdaptkitError(
            f"{table.source}: {count} different values are no slices; at most {MOST_SLICES} are "
            "shown."
        )


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
    if any(name in OVER_LABELS and name not in one.metrics for one in found for name in metrics):
        lines.append(f"\n{ONE_LABEL}")
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
