"""A test of a stream that may be looked at after every value: bets against "nothing has changed".

If a stream goes on as a reference began, the rank of each new value among all before it is uniform,
whatever the values are distributed like (a conformal p-value, Vovk, Gammerman and Shafer 2005). A
bet on p-values that are not uniform starts with 1 and is fair: that it ever reaches 1 / a has a
chance of a at most (Ville 1939). So `p_value` holds however often it is looked at.

>>> test = Bets(np.arange(200.0), seed=0)
>>> for value in (500.0, 501.0, 502.0, 503.0):
...     test.add(value)
>>> test.p_value < 0.01
True
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort

import numpy as np

POWERS = np.array([0.1, 0.3, 0.5, 0.7, 0.9])
BINS, PRIOR = 10, 2.0  # of the histogram; values that each bin is thought to have at first


class Bets:
    """Bets on the ranks of a stream among a reference and what came before.

    Some bet that ranks are high, some that they are low (densities `e p^(e-1)`, Vovk 1993), one on
    the histogram so far; all start with the same share.

    Args:
        reference: values `(n,)` that the stream is compared with, 1 or more.
        seed: of the ranks of equal values.
    """

    def __init__(self, reference: np.ndarray, seed: int):
        self._sorted = sorted(map(float, reference))
        self._random = np.random.default_rng(seed)
        self._counts = np.full(BINS, PRIOR)
        self._logs = np.zeros(2 * len(POWERS) + 1)
        self._best = 0.0
        self._ranks = 0.0
        self.count = 0

    def add(self, value: float) -> None:
        """The next value of the stream."""
        rank = self._rank(float(value))
        insort(self._sorted, float(value))
        place = min(int(rank * BINS), BINS - 1)
        self._logs += np.concatenate(
            (
                _power_log(rank),
                _power_log(1 - rank),
                [np.log(self._counts[place] * BINS / self._counts.sum())],
            )
        )
        self._counts[place] += 1
        self._ranks += rank
        self.count += 1
        top = self._logs.max()
        self._best = max(self._best, top + np.log(np.exp(self._logs - top).mean()))

    def _rank(self, value: float) -> float:
        """The share of all values so far that are higher; equal ones count by chance."""
        low, high = bisect_left(self._sorted, value), bisect_right(self._sorted, value)
        higher, equal = len(self._sorted) - high, high - low + 1
        rank = (higher + self._random.random() * equal) / (len(self._sorted) + 1)
        return float(np.clip(rank, 1e-12, 1 - 1e-12))

    @property
    def p_value(self) -> float:
        """How likely a stream that has not changed ever looks like this, at most."""
        return float(np.exp(-self._best))

    @property
    def higher(self) -> float:
        """How often a value of the stream is above one that came before; 0.5 without a change."""
        return 1 - self._ranks / self.count if self.count else 0.5


def _power_log(rank: float) -> np.ndarray:
    return np.log(POWERS) + (POWERS - 1) * np.log(rank)
