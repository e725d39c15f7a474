"""Is what an adapter is asked, and what it answers, still like its training?

Four tests look at every row: a classifier and the maximum mean discrepancy at the base's states,
and the ranks of answers and of confidences. Each p-value is multiplied by four (Bonferroni), so all
of them together give a false alarm with the chance `alpha` at most, over the whole stream.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from adaptkit.monitoring.reference import FEWEST, Reference
from adaptkit.monitoring.scores import classifier, itself, mmd_witness
from adaptkit.monitoring.stream_test import StreamTest

ALPHA = 0.01
TESTS = ("classifier", "mmd", "answers", "confidence")


@dataclass(frozen=True)
class Drift:
    """What one test says.

    p_value: of no drift; it holds however often one looks. rows: that it has seen.
    higher: how often a late row ranks above a reference row; 0.5 without drift.
    """

    test: str
    p_value: float
    rows: int
    higher: float

    @property
    def alarm(self) -> bool:
        return self.p_value <= ALPHA


class Watch:
    """The tests of one adapter."""

    def __init__(self, reference: Reference):
        self._reference = reference
        by_test = {
            "classifier": (reference.states, classifier),
            "mmd": (reference.states, mmd_witness),
            "answers": (reference.numbers[:, None], itself),
            "confidence": (reference.confidences[:, None], itself),
        }
        self._tests = {
            name: StreamTest(rows, score)
            for name, (rows, score) in by_test.items()
            if len(rows) >= FEWEST
        }

    def add(
        self,
        state: np.ndarray | None = None,
        number: float | None = None,
        confidence: float | None = None,
    ) -> None:
        """A row and its answer: the state `(D,)` in the reference's directions, two numbers."""
        one = {
            "classifier": state,
            "mmd": state,
            "answers": None if number is None else np.array([number]),
            "confidence": None if confidence is None else np.array([confidence]),
        }
        for name, test in self._tests.items():
            if (value := one[name]) is not None and np.isfinite(value).all():
                test.add(value)

    def drifts(self) -> list[Drift]:
        """What each test says now."""
        return [
            Drift(name, min(1.0, len(TESTS) * test.p_value), test.count, test.higher)
            for name, test in self._tests.items()
        ]

    @property
    def alarm(self) -> bool:
        """One of the tests has seen a drift."""
        return any(drift.alarm for drift in self.drifts())
