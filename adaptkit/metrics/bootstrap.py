"""How far a metric, or the difference of two models, can be trusted: intervals by resampled rows.

>>> right = np.arange(100) < 80
>>> scores = RowScores((right,), lambda chosen: {"accuracy": float(chosen.mean())})
>>> intervals(scores, 200)["accuracy"].value
0.8
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from adaptkit.metrics.row_scores import RowScores
from adaptkit.utils.terminal import progress

ENDS = (2.5, 97.5)  # percentiles


@dataclass(frozen=True)
class Interval:
    """A value with its 95 % interval when rows are resampled (percentile bootstrap, Efron 1979)."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference(Interval):
    """What a second model has more than a first, with the 95 % interval, and what each has."""

    first: float
    second: float


def intervals(scores: RowScores, resamples: int, seed: int = 0) -> dict[str, Interval]:
    """Every metric with its interval."""
    drawn = [scores(rows) for rows in _draws(len(scores), resamples, seed)]
    return {
        name: Interval(float(value), *_ends(one[name] for one in drawn if name in one))
        for name, value in scores().items()
    }


def differences(
    first: RowScores, second: RowScores, resamples: int, seed: int = 0
) -> dict[str, Difference]:
    """The difference in every metric that both have, second minus first, with its interval.

    The bootstrap is paired: both are scored on the same resampled rows, so what makes a row hard
    for both does not widen the interval.
    """
    draws = progress(_draws(len(first), resamples, seed), "resampling", "draws", resamples)
    drawn = [(first(rows), second(rows)) for rows in draws]
    one, two = first(), second()
    return {
        name: Difference(
            two[name] - one[name],
            *_ends(b[name] - a[name] for a, b in drawn if name in a and name in b),
            one[name],
            two[name],
        )
        for name in one
        if name in two and np.isfinite(two[name] - one[name])
    }


def swap_p(
    first: RowScores, second: RowScores, metric: str, resamples: int, seed: int = 0
) -> float:
    """The two-sided p-value of a difference, by approximate randomization.

    How often the difference is as large if a coin decides for each row which model gave which of
    the two answers (Noreen 1989; Yeh 2000, "More accurate tests for the statistical significance
    of result differences").
    """
    rows, both = len(first), first.and_rows(second)
    random = np.random.default_rng(seed)

    def size(swapped: np.ndarray) -> float:
        own = np.arange(rows)
        one, two = own + rows * swapped, own + rows * (1 - swapped)
        return abs(both(two)[metric] - both(one)[metric])

    seen = size(np.zeros(rows, dtype=int)) * (1 - 1e-9)  # equal but for rounding is as large
    draws = progress(range(resamples), "swapping", "draws", resamples)
    as_large = sum(size(random.integers(2, size=rows)) >= seen for _ in draws)
    return float((1 + as_large) / (1 + resamples))


def _draws(rows: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Indexes `(rows,)`, drawn with replacement; once of a single row."""
    random = np.random.default_rng(seed)
    for _ in range(resamples if rows > 1 else 1):
        yield random.integers(rows, size=rows)


def _ends(drawn: Iterable[float]) -> tuple[float, float]:
    finite = [value for value in drawn if np.isfinite(value)]
    low, high = np.percentile(finite, ENDS) if finite else (np.nan, np.nan)
    return float(low), float(high)
