"""Classification metrics from one confusion matrix, as an `evaluate` module.

>>> from adaptkit.metrics.classification import Classification
>>> Classification().compute(predictions=[0, 1, 1, 0], references=[0, 1, 0, 0])["accuracy"]
0.75
"""

from __future__ import annotations

import datasets
import evaluate
import numpy as np


class Classification(evaluate.Metric):
    """Accuracy; precision, recall and F1, averaged over the labels; Matthews correlation (Gorodkin 2004 for many labels).

    `compute(predictions, references)`: class numbers. A label that is never predicted has precision 0, one that never occurs has
    recall 0; labels that neither occur nor are predicted do not count.
    """

    def __init__(self, **kwargs):
        super().__init__(**{"keep_in_memory": True, **kwargs})

    def _info(self):
        number = datasets.Value("int64")
        return evaluate.MetricInfo(
            description="Accuracy, macro precision, recall and F1, Matthews correlation.",
            citation="",
            inputs_description="predictions, references: class numbers",
            features=datasets.Features({"predictions": number, "references": number}),
        )

    def _compute(self, predictions, references) -> dict[str, float]:
        matrix = confusion(np.asarray(references), np.asarray(predictions))
        hits, gold, said, total = np.diag(matrix), matrix.sum(1), matrix.sum(0), matrix.sum()
        used = (gold + said) > 0
        precision, recall = _share(hits, said)[used], _share(hits, gold)[used]
        f1 = _share(2 * hits, gold + said)[used]
        covariance = hits.sum() * total - (gold * said).sum()
        spread = np.sqrt(float(total**2 - (gold**2).sum()) * float(total**2 - (said**2).sum()))
        return {
            "accuracy": float(hits.sum() / total),
            "f1": float(f1.mean()),
            "precision": float(precision.mean()),
            "recall": float(recall.mean()),
            "matthews_correlation": float(covariance / spread) if spread else 0.0,
        }


def confusion(gold: np.ndarray, predicted: np.ndarray, size: int | None = None) -> np.ndarray:
    """Counts `(size, size)`: row is gold, column is predicted."""
    size = size or int(max(gold.max(initial=0), predicted.max(initial=0))) + 1
    matrix = np.zeros((size, size), dtype=np.int64)
    np.add.at(matrix, (gold, predicted), 1)
    return matrix


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0)
