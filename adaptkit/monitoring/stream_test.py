"""Tests of a stream that begin anew from time to time, so that a late change is seen, too.

Each has a share of the allowed errors, 1/2, 1/6, 1/12, ..., which add up to 1.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import numpy as np

from adaptkit.monitoring.betting import Bets

STARTS = (0, 50, 100, 200)  # of tests, in values; then one for each LATER
LATER = 200
RUNNING = 10  # tests at once; the oldest ends
WINDOW = 200  # the last values, which a new test learns from

# Turns rows `(n, width)` into the numbers `(n,)` that are ranked.
Score = Callable[[np.ndarray], np.ndarray]
# Makes a score from a reference and the last rows of the stream.
MakeScore = Callable[[np.ndarray, np.ndarray], Score]


class StreamTest:
    """Compares a stream of rows with reference rows.

    Args:
        reference: `(n, width)`, 2 rows or more, in random order. Scores are made of the first half,
            and the stream is ranked among the second.
        make_score: called for each test with the first half and the last rows of the stream.
        seed: of the ranks of equal values.
    """

    def __init__(self, reference: np.ndarray, make_score: MakeScore, seed: int = 0):
        self._learn, self._rank = np.split(reference, [len(reference) // 2])
        self._make_score, self._seed = make_score, seed
        self._last: deque[np.ndarray] = deque(maxlen=WINDOW)
        self._tests: deque[tuple[float, Score, Bets]] = deque(maxlen=RUNNING)
        self._started = 0
        self._best = 1.0
        self.count = 0

    def add(self, row: np.ndarray) -> None:
        """The next row of the stream, `(width,)`."""
        if self.count in STARTS or (self.count > STARTS[-1] and self.count % LATER == 0):
            self._start()
        for share, score, bets in self._tests:
            bets.add(float(score(row[None])[0]))
            self._best = min(self._best, bets.p_value / share)
        self._last.append(row)
        self.count += 1

    def _start(self) -> None:
        last = np.array(self._last).reshape(-1, self._learn.shape[1])
        score = self._make_score(self._learn, last)
        self._started += 1
        share = 1 / (self._started * (self._started + 1))
        bets = Bets(score(self._rank), self._seed + self._started)
        self._tests.append((share, score, bets))

    @property
    def p_value(self) -> float:
        """Holds however often it is looked at."""
        return self._best

    @property
    def higher(self) -> float:
        """How often a late row scores above a reference row; 0.5 without a change."""
        long = [bets for _, _, bets in self._tests if bets.count >= STARTS[1]]
        return long[-1].higher if long else 0.5
