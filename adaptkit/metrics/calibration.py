"""How far probabilities are from how often answers are right.

>>> expected_calibration_error([0.9, 0.9, 0.6, 0.6], [1, 1, 1, 0])
0.1
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

BINS = 15


@dataclass(frozen=True)
class Bin:
    """Answers of similar confidence: their mean confidence, the share that is right, the number."""

    confidence: float
    accuracy: float
    count: int


def reliability(confidences, right, bins: int = BINS) -> list[Bin]:
    """Answers by confidence, in bins of equal width; empty ones are left out.

    Args:
        confidences: the probability of each answer `(rows,)`. right: which answers are, 0 or 1.
    """
    confidences, right = np.asarray(confidences, float), np.asarray(right, float)
    place = np.minimum((confidences * bins).astype(int), bins - 1)
    found = []
    for number in np.unique(place):
        own = place == number
        found.append(Bin(float(confidences[own].mean()), float(right[own].mean()), int(own.sum())))
    return found


def expected_calibration_error(confidences, right, bins: int = BINS) -> float:
    """The mean distance between confidence and accuracy of the bins, weighted by their rows.

    As in Guo et al. 2017 (arXiv:1706.04599), with 15 bins of equal width.
    """
    found = reliability(confidences, right, bins)
    total = sum(one.count for one in found)
    distance = sum(one.count * abs(one.confidence - one.accuracy) for one in found)
    return round(distance / total, 12) if total else 0.0
