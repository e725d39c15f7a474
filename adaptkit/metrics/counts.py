"""Helpers shared by the metrics."""

from __future__ import annotations

import numpy as np


def safe_divide(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole, or 0 if whole is 0."""
    return np.divide(part, whole, out=np.zeros(np.shape(part)), where=np.asarray(whole) > 0)


def precision_recall_f1(
    hits: np.ndarray, predictions: np.ndarray, references: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Per label, from the counts of correct predictions, of predictions and of references.

    0 where undefined.
    """
    return (
        safe_divide(hits, predictions),
        safe_divide(hits, references),
        safe_divide(2 * hits, np.asarray(predictions) + references),
    )
