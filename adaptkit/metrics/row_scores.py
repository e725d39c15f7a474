"""Metrics of any choice of rows: what a row adds to them is computed once.

>>> right = np.asarray([1, 1, 0, 0])
>>> scores = RowScores((right,), lambda chosen: {"accuracy": float(chosen.mean())})
>>> scores(np.asarray([0, 0, 1, 3]))
{'accuracy': 0.75}
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class RowScores:
    """What each row adds to the metrics, and how the metrics follow from it.

    parts: arrays `(rows, ...)`, or `Counts`, `Sums` or `Ranked`, with an entry for every row.
    combine: the metrics, from each part's entries of the chosen rows.
    """

    parts: tuple[Any, ...]
    combine: Callable[..., dict[str, float]]

    def __len__(self) -> int:
        return len(self.parts[0])

    def __call__(self, rows: np.ndarray | None = None) -> dict[str, float]:
        """The metrics of these rows, each as often as its index occurs; by default of all rows."""
        chosen = np.arange(len(self)) if rows is None else rows
        return self.combine(*(part[chosen] for part in self.parts))

    def and_rows(self, other: RowScores) -> RowScores:
        """These rows followed by those of another model, scored in the same way."""
        return RowScores(tuple(map(_joined, self.parts, other.parts)), self.combine)

    def beside(self, other: RowScores) -> RowScores:
        """These metrics and others of the same rows."""
        assert len(self) == len(other)
        own = len(self.parts)

        def combine(*parts: Any) -> dict[str, float]:
            return self.combine(*parts[:own]) | other.combine(*parts[own:])

        return RowScores((*self.parts, *other.parts), combine)


@dataclass(frozen=True)
class Counts:
    """A table of counts `(rows, columns)` that is mostly 0; chosen rows give their sum.

    rows, columns: the place of each 1 that is counted, `(ones,)`. shape: of the table.

    >>> Counts(np.asarray([0, 0, 2]), np.asarray([1, 1, 0]), (3, 2))[np.asarray([0, 2, 2])]
    array([2., 2.])
    """

    rows: np.ndarray
    columns: np.ndarray
    shape: tuple[int, int]

    @classmethod
    def of(cls, *tables: np.ndarray) -> Counts:
        """The 0s and 1s of tables `(rows, labels)`, side by side."""
        table = np.concatenate(tables, 1)
        rows, columns = np.nonzero(table)
        return cls(rows, columns, (len(table), table.shape[1]))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, chosen: np.ndarray) -> np.ndarray:
        times = np.bincount(chosen, minlength=self.shape[0])
        return np.bincount(self.columns, times[self.rows], self.shape[1])

    def and_rows(self, other: Counts) -> Counts:
        """The rows of both tables, which have the same columns."""
        return Counts(
            np.concatenate([self.rows, other.rows + len(self)]),
            np.concatenate([self.columns, other.columns]),
            (len(self) + len(other), self.shape[1]),
        )


@dataclass(frozen=True)
class Sums:
    """A table of whole numbers as doubles, `(rows, columns)`; chosen rows give their sum."""

    table: np.ndarray

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, chosen: np.ndarray) -> np.ndarray:
        times = np.bincount(chosen, minlength=len(self)).astype(self.table.dtype)
        return times @ self.table  # exact up to 2^53

    def and_rows(self, other: Sums) -> Sums:
        """The rows of both tables, which have the same columns."""
        return Sums(np.concatenate([self.table, other.table]))


class Ranked:
    """Numbers `(rows,)`; chosen rows give their numbers and the ranks of these.

    Numbers of two models that are joined are ranked by their ranks in each model, whatever the
    scale of each.

    >>> Ranked(np.asarray([5.0, 1.0, 5.0]))[np.asarray([0, 1, 2])][1]
    array([2.5, 1. , 2.5])
    """

    def __init__(self, values: np.ndarray, keys: np.ndarray | None = None):
        self.values, self.keys = values, values if keys is None else keys
        self.places = np.unique(self.keys, return_inverse=True)[1]  # sorted once

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        places = self.places[chosen]
        counts = np.bincount(places)
        return self.values[chosen], (np.cumsum(counts) - (counts - 1) / 2)[places]

    def and_rows(self, other: Ranked) -> Ranked:
        """The numbers of both."""
        ranks = [one[np.arange(len(one))][1] for one in (self, other)]
        return Ranked(np.concatenate([self.values, other.values]), np.concatenate(ranks))


def mean_rows(values: dict[str, Sequence[float]]) -> RowScores:
    """Metrics that are means of a value of each row."""

    def combine(*parts: np.ndarray) -> dict[str, float]:
        return {name: float(part.mean()) for name, part in zip(values, parts, strict=True)}

    return RowScores(tuple(map(np.asarray, values.values())), combine)


def scored_anew(
    score: Callable[[list[Any], np.ndarray], dict[str, float]], answers: Sequence[Any]
) -> RowScores:
    """Rows that are scored as a whole each time, by a function of answers and row indexes."""
    kept = np.empty(len(answers), dtype=object)
    kept[:] = answers
    own = np.arange(len(answers))
    return RowScores((kept, own), lambda chosen, rows: score(list(chosen), rows))


def _joined(one: Any, two: Any) -> Any:
    return np.concatenate([one, two]) if isinstance(one, np.ndarray) else one.and_rows(two)
