"""Regression metrics.

>>> round(regression([1.0, 2.0, 4.0], [1.0, 2.0, 3.0])["spearmanr"], 6)
1.0
"""

from __future__ import annotations

import numpy as np

from adaptkit.metrics.row_scores import Ranked, RowScores

Pair = tuple[np.ndarray, np.ndarray]  # numbers and their ranks, `(rows,)`


def regression(predictions, references) -> dict[str, float]:
    """Pearson and Spearman correlation, mean absolute error and root mean squared error.

    Ties get their mean rank. A correlation with a constant is 0.

    Args:
        predictions, references: numbers `(rows,)`.
    """
    return regression_rows(predictions, references)()


def regression_rows(predictions, references) -> RowScores:
    """`regression` of any rows."""
    pair = (np.asarray(values, dtype=np.float64) for values in (predictions, references))
    return RowScores(tuple(map(Ranked, pair)), _scores)


def _scores(predicted: Pair, wanted: Pair) -> dict[str, float]:
    predictions, references = predicted[0], wanted[0]
    return {
        "spearmanr": correlation(predicted[1], wanted[1]),
        "pearson": correlation(predictions, references),
        "mae": float(np.abs(predictions - references).mean()),
        "rmse": float(np.sqrt(((predictions - references) ** 2).mean())),
    }


def correlation(one: np.ndarray, two: np.ndarray) -> float:
    """The Pearson correlation of two vectors."""
    one, two = one - one.mean(), two - two.mean()
    size = np.sqrt((one**2).sum() * (two**2).sum())
    return float((one * two).sum() / size) if size else 0.0
