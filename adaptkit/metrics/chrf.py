"""chrF (Popović 2015, "chrF: character n-gram F-score"), by counts of each row.

Defined as in sacrebleu: n-grams of 1 to 6 characters without blanks, precision and recall averaged
over the orders that both sides have, and recall counts twice as much.

>>> round(chrf(chrf_counts("a cat", ["the cat"])), 2)
31.25
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from adaptkit.metrics.counts import safe_divide

ORDER, BETA = 6, 2


def chrf(counts: np.ndarray) -> float:
    """The score, 0 to 100, from the summed counts `(3, 6)` of `chrf_counts`."""
    predictions, references, hits = counts
    used = (predictions > 0) & (references > 0)
    if not used.any():
        return 0.0
    precision = float(safe_divide(hits, predictions)[used].mean())
    recall = float(safe_divide(hits, references)[used].mean())
    if not precision + recall:
        return 0.0
    return 100 * ((1 + BETA**2) * precision * recall / (BETA**2 * precision + recall))


def chrf_counts(prediction: str, references: Sequence[str]) -> np.ndarray:
    """The n-grams of a prediction, of its best reference, and of both, by order: `(3, 6)`."""
    own = _n_grams(prediction)
    return max((_shared(own, _n_grams(text)) for text in references), key=chrf)


def _n_grams(text: str) -> list[Counter[str]]:
    text = "".join(text.split())
    return [Counter(text[i : i + n] for i in range(len(text) - n + 1)) for n in range(1, ORDER + 1)]


def _shared(predictions: list[Counter[str]], references: list[Counter[str]]) -> np.ndarray:
    """Counts `(3, 6)`; what has an order that the reference lacks is not counted."""
    return np.asarray(
        [
            [one.total() if two else 0 for one, two in zip(predictions, references, strict=True)],
            [two.total() for two in references],
            [(one & two).total() for one, two in zip(predictions, references, strict=True)],
        ]
    )
