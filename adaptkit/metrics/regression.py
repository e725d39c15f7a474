"""Regression metrics.

>>> round(regression([1.0, 2.0, 4.0], [1.0, 2.0, 3.0])["spearmanr"], 6)
1.0
"""

from __future__ import annotations

import numpy as np


def regression(said, gold) -> dict[str, float]:
    """Pearson's and Spearman's correlation (ties have their mean rank), mean absolute error and root mean squared error.

    A correlation with a constant is 0.

    Args:
        said, gold: numbers `(rows,)`.
    """
    said, gold = np.asarray(said, dtype=np.float64), np.asarray(gold, dtype=np.float64)
    return {
        "spearmanr": correlation(ranks(said), ranks(gold)),
        "pearson": correlation(said, gold),
        "mae": float(np.abs(said - gold).mean()),
        "rmse": float(np.sqrt(((said - gold) ** 2).mean())),
    }


def correlation(one: np.ndarray, two: np.ndarray) -> float:
    """Pearson's correlation of two vectors."""
    one, two = one - one.mean(), two - two.mean()
    size = np.sqrt((one**2).sum() * (two**2).sum())
    return float((one * two).sum() / size) if size else 0.0


def ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1; equal values share their mean rank."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[place]
