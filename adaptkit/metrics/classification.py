"""Classification metrics from counts.

>>> classification([0, 1, 1, 0], [0, 1, 0, 0])["accuracy"]
0.75
"""

from __future__ import annotations

from typing import Any

import numpy as np

from adaptkit.metrics.counts import precision_recall_f1
from adaptkit.metrics.row_scores import Counts, RowScores


def classification(predictions, references) -> dict[str, float]:
    """Accuracy, macro-averaged precision, recall and F1, and Matthews correlation.

    Matthews correlation follows Gorodkin 2004 for more than two labels.

    Args:
        predictions, references: class indices `(rows,)`. A label that is never predicted has
            precision 0, one that never occurs has recall 0; labels that neither occur nor are
            predicted do not count.
    """
    predictions, references = np.asarray(predictions), np.asarray(references)
    size = int(max(references.max(initial=0), predictions.max(initial=0))) + 1
    hits, wanted, answers = (
        np.bincount(labels, minlength=size)
        for labels in (references[predictions == references], references, predictions)
    )
    total = len(references)
    used = (wanted + answers) > 0
    precision, recall, f1 = (values[used] for values in precision_recall_f1(hits, answers, wanted))
    covariance = hits.sum() * total - (wanted * answers).sum()
    spread = np.sqrt(float(total**2 - (wanted**2).sum()) * float(total**2 - (answers**2).sum()))
    return {
        "accuracy": float(hits.sum() / total),
        "f1": float(f1.mean()),
        "precision": float(precision.mean()),
        "recall": float(recall.mean()),
        "matthews_correlation": float(covariance / spread) if spread else 0.0,
    }


def multi_label(predictions, references) -> dict[str, float]:
    """Exact matches and F1, averaged over labels (macro) and over all decisions (micro).

    Args:
        predictions, references: 0 or 1 per label `(rows, labels)`.
    """
    return multi_label_rows(np.asarray(predictions), np.asarray(references))()


def multi_label_rows(predictions: np.ndarray, references: np.ndarray) -> RowScores:
    """`multi_label` of any rows."""
    counts = Counts.of(predictions & references, predictions, references)
    return RowScores(((predictions == references).all(1), counts), _multi_label)


def _multi_label(right: np.ndarray, totals: np.ndarray) -> dict[str, float]:
    counts = totals.reshape(3, -1)  # hits, predictions, references of each label
    precision, recall, f1 = precision_recall_f1(*counts)
    micro = precision_recall_f1(*counts.sum(1, keepdims=True))[2]
    return {
        "accuracy": float(right.mean()),
        "f1": float(f1.mean()),
        "f1_micro": float(micro[0]),
        "precision": float(precision.mean()),
        "recall": float(recall.mean()),
    }


def confusion(references: np.ndarray, predicted: np.ndarray, size: int | None = None) -> np.ndarray:
    """Counts `(size, size)`: rows are references, columns are predictions."""
    size = size or int(max(references.max(initial=0), predicted.max(initial=0))) + 1
    matrix = np.zeros((size, size), dtype=np.int64)
    np.add.at(matrix, (references, predicted), 1)
    return matrix


def table_by_label(labels: list[str], hits, predictions, references) -> list[dict[str, Any]]:
    """One row per label: precision, recall, F1, and the number of rows with this label."""
    scores = precision_recall_f1(np.asarray(hits), np.asarray(predictions), np.asarray(references))
    return [
        {
            "label": label,
            "precision": float(p),
            "recall": float(r),
            "f1": float(f),
            "support": int(count),
        }
        for label, p, r, f, count in zip(labels, *scores, references, strict=True)
    ]
