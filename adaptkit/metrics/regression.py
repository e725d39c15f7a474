"""Regression metrics.

>>> round(regression([1.0, 2.0, 4.0], [1.0, 2.0, 3.0])["spearmanr"], 6)
1.0
"""

from __future__ import annotations

import numpy as np


def regression(predictions, references) -> dict[str, float]:
    """Pearson and Spearman correlation, mean absolute error and root mean squared error.

    Ties get their mean rank. A correlation with a constant is 0.

    Args:
        predictions, references: numbers `(rows,)`.
    """
    predictions, references = (
        np.asarray(predictions, dtype=np.float64),
        np.asarray(references, dtype=np.float64),
    )
    return {
        "spearmanr": correlation(ranks(predictions), ranks(references)),
        "pearson": correlation(predictions, references),
        "mae": float(np.abs(predictions - references).mean()),
        "rmse": float(np.sqrt(((predictions - references) ** 2).mean())),
    }


def correlation(one: np.ndarray, two: np.ndarray) -> float:
    """The Pearson correlation of two vectors."""
    one, two = one - one.mean(), two - two.mean()
    size = np.sqrt((one**2).sum() * (two**2).sum())
    return float((one * two).sum() / size) if size else 0.0


def ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1; equal values share their mean rank."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[place]
