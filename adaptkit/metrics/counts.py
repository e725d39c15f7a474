"""What the metrics share."""

from __future__ import annotations

import numpy as np


def safe_divide(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole, and 0 where there is nothing."""
    return np.divide(part, whole, out=np.zeros(np.shape(part)), where=np.asarray(whole) > 0)


def precision_recall_f1(
    hits: np.ndarray, predictions: np.ndarray, references: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """From counts of right answers, of answers and of gold, for each label.

    0 where it is not defined.
    """
    return (
        safe_divide(hits, predictions),
        safe_divide(hits, references),
        safe_divide(2 * hits, np.asarray(predictions) + references),
    )
