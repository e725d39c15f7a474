"""Two adapters on the same labelled rows: by how much one is better, and whether that is chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adaptkit.data.tables import Table
from adaptkit.errors import AdaptkitError
from adaptkit.inference.comparable import check_references, comparable_tasks
from adaptkit.inference.predictor import Predictor
from adaptkit.inference.scored import Scored
from adaptkit.inference.slices import ONE_LABEL, OVER_LABELS
from adaptkit.metrics.bootstrap import Difference, differences, swap_p
from adaptkit.metrics.units import LOWER_IS_BETTER, NOTHING, amounts
from adaptkit.tasks.base import Task
from adaptkit.utils.terminal import format_table

RESAMPLES, FEWEST = 1000, 100
CHANCE = 0.05
DIFFERENT_TOKENS = (
    "{} and {} read the rows as different tokens, so their perplexities cannot be compared"
)


@dataclass(frozen=True)
class Comparison:
    """By how much the second of two adapters differs from the first, on the same rows.

    first, second: their folders. group: the rows' value of a column, or "all". rows: their number.
    metrics: the difference in each, the task's main metric first.
    p: of the main metric, two-sided: how often chance alone makes its difference as large.
    note: what is not compared, and why.
    """

    first: str
    second: str
    group: str
    rows: int
    metrics: dict[str, Difference]
    p: float
    note: str = ""

    @property
    def metric(self) -> str:
        """The main metric."""
        return next(iter(self.metrics))

    @property
    def names(self) -> tuple[str, str]:
        """The names of both folders, or their paths if the names are equal."""
        first, second = (Path(folder).resolve().name for folder in (self.first, self.second))
        return (first, second) if first != second else (self.first, self.second)

    @property
    def better(self) -> str | None:
        """The better adapter; None if the rows show no difference in the main metric.

        They show one if 0 is outside its 95 % interval and p is at most 0.05.
        """
        return None if self.p > CHANCE else self._ahead(self.metric)

    def _ahead(self, metric: str) -> str | None:
        """Who is better in a metric, if 0 is outside its interval."""
        found = self.metrics[metric]
        if not (found.low > NOTHING or found.high < -NOTHING):
            return None
        return self.second if (found.low > 0) != (metric in LOWER_IS_BETTER) else self.first

    def __str__(self) -> str:
        others = [name for name in self.metrics if name != self.metric and self._ahead(name)]
        if self.better is None:
            return self._no_difference() + self._but(self.second, others)
        worse = self.first if self.better == self.second else self.second
        others = [name for name in others if self._ahead(name) == worse]
        said = f"its {self.metric} is {self._by(self.better, self.metric)}, {_p_value(self.p)}"
        return f"{self._name(self.better)} is better: {said}{self._but(self.better, others)}"

    def _name(self, folder: str) -> str:
        return self.names[folder == self.second]

    def _by(self, folder: str, metric: str) -> str:
        """By how much a metric of one of the two is higher or lower, in words."""
        found = self.metrics[metric]
        low, high = sorted((abs(found.low), abs(found.high)))
        way = "higher" if (found.low > 0) == (folder == self.second) else "lower"
        return f"{way} by {amounts(metric, abs(found.value), low, high)}"

    def _no_difference(self) -> str:
        """A sentence on the main metric, with the reason where interval and p do not agree."""
        found, metric, (first, second) = self.metrics[self.metric], self.metric, self.names
        none = f"no difference can be seen with {self.rows} rows: "
        if max(map(abs, (found.value, found.low, found.high))) <= NOTHING:
            return f"{none}{metric} of {second} is that of {first}, {found.first:.4f}"
        signed = amounts(metric, found.value, found.low, found.high, "+")
        said = f"{none}{metric} of {second} is {signed} from that of {first}, {_p_value(self.p)}"
        if self._ahead(metric):
            return f"{said} (the interval leaves out 0, but p is above {CHANCE})"
        if self.p <= CHANCE:
            return f"{said} (p is at most {CHANCE}, but the interval does not leave out 0)"
        return said

    def _but(self, folder: str, metrics: Sequence[str]) -> str:
        """What other metrics say against the sentence before, of one of the two."""
        name = self._name(folder)
        found = ", ".join(f"{metric} of {name} is {self._by(folder, metric)}" for metric in metrics)
        return f". But {found}" if found else ""


def _p_value(p: float) -> str:
    """`p = 0.012`, with more digits where three would be on the other side of `CHANCE`.

    >>> _p_value(0.0504), _p_value(0.0001)
    ('p = 0.0504', 'p < 0.001')
    """
    if p < 0.0005:
        return "p < 0.001"
    rounded = f"{p:.3f}"
    return f"p = {rounded if (float(rounded) <= CHANCE) == (p <= CHANCE) else f'{p:.4f}'}"


def compare(
    folders: Sequence[str | Path],
    table: Table,
    columns: dict[str, str] | None = None,
    batch_size: int = 64,
    *,
    by: str | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
    options: Sequence[str] | None = None,
    **base_options: Any,
) -> list[Comparison]:
    """Compare adapters with the first of them on labelled rows, by a paired bootstrap.

    One comparison for each further adapter; with `by`, followed by one for each group. Bases and
    methods may differ. One model at a time is in memory.

    Args:
        folders: two adapters or more, of one task with the same labels, in any order.
        table: labelled rows.
        columns: part of a row -> its column; by default as each adapter was trained.
        by: a column; its values are groups.
        resamples: how often the rows are drawn anew, 100 or more.
        options: as in `Predictor.choose_among`, for all adapters.
        base_options: for `load_base`: quantize, dtype, device_map, ...

    Raises:
        AdaptkitError: the adapters cannot be compared (different tasks, labels or references, or
            the same folder twice), or the rows cannot be read.
    """
    if resamples < FEWEST:
        raise AdaptkitError(
            f"{resamples} resamples are too few for a 95 % interval; give {FEWEST} or more."
        )
    names = [str(folder) for folder in folders]
    task = comparable_tasks(names, columns)[0]
    first: Scored | None = None
    found: list[Comparison] = []
    for name in names:
        predictor = Predictor(name, **base_options)
        if options:
            predictor.choose_among(options, table, columns)
        scored = predictor.row_scores(table, columns, batch_size, by=by, scorer=task)
        del predictor  # before the next one is loaded
        if first is None:
            first = scored
            continue
        check_references(task, names[0], first.rows, name, scored.rows, table)
        same = first.tokens == scored.tokens
        note = "" if same else DIFFERENT_TOKENS.format(names[0], name)
        for one, two in zip(first.groups, scored.groups, strict=True):
            a, b = one.scores(same), two.scores(same)
            if a is None or b is None:
                raise AdaptkitError(f"{note}.")
            metrics = _by_task(task, differences(a, b, resamples, seed))
            if not metrics:
                raise AdaptkitError(f"{task.name} gives {names[0]} and {name} no finite metric.")
            p = swap_p(a, b, next(iter(metrics)), resamples, seed)
            found.append(Comparison(names[0], name, one.name, len(a), metrics, p, note))
    return found


def _by_task(task: Task, found: dict[str, Difference]) -> dict[str, Difference]:
    """The metrics in the task's order; the others follow."""
    order = [name for name in task.reported if name in found]
    return {name: found[name] for name in dict.fromkeys([*order, *found])}


def show(found: Sequence[Comparison], column: str | None = None) -> str:
    """A table and a sentence for each further adapter; `column`: whose values are the groups."""
    by_pair: dict[str, list[Comparison]] = {}
    for one in found:
        by_pair.setdefault(one.second, []).append(one)
    tables = []
    for pair in by_pair.values():
        rows = _groups_table(pair, column) if column else _metrics_table(pair[0])
        missing = any(pair[0].metric not in one.metrics for one in pair)
        note = f"\n\n{ONE_LABEL}" * (missing and pair[0].metric in OVER_LABELS)
        tables.append(f"{format_table(rows)}{note}\n\n{pair[0]}")
    return "\n\n".join(tables)


def _metrics_table(one: Comparison) -> list[tuple[str, ...]]:
    head = ("metric", *one.names, "difference", "95 % interval")
    return [head, *((name, *_cells(found)) for name, found in one.metrics.items())]


def _groups_table(pair: list[Comparison], column: str) -> list[tuple[str, ...]]:
    whole = pair[0]
    names = (f"{whole.metric} of {name}" for name in whole.names)
    rows: list[tuple[str, ...]] = [(column, "rows", *names, "difference", "95 % interval", "p")]
    for one in pair:
        found = one.metrics.get(whole.metric)
        p = f"{one.p:.3f}" if one.metric == whole.metric else "-"
        rows.append((one.group, str(one.rows), *(_cells(found) if found else ("-",) * 4), p))
    return rows


def _cells(found: Difference) -> tuple[str, str, str, str]:
    return (
        f"{found.first:.4f}",
        f"{found.second:.4f}",
        f"{found.value:+z.4f}",
        f"{found.low:+z.4f} to {found.high:+z.4f}",
    )
