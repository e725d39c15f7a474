"""Precision, recall and F1 of entities: (start, end, type) spans with exact boundaries and type.

>>> span_scores([[(0, 2, "PER")]], [[(0, 2, "PER"), (2, 3, "LOC")]])["recall"]
0.5
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from adaptkit.metrics.classification import table_by_label
from adaptkit.metrics.counts import precision_recall_f1

Span = tuple[int, int, str]


def span_scores(
    predictions: Sequence[Iterable[Span]], references: Sequence[Iterable[Span]]
) -> dict[str, float]:
    """Micro precision, recall and F1, and macro F1 over types, of (start, end, type) per row."""
    counts = _counts(predictions, references)
    hits, answers, wanted = (sum(count.values()) for count in counts)
    precision, recall, f1 = (
        float(value[0])
        for value in precision_recall_f1(*(np.asarray([n]) for n in (hits, answers, wanted)))
    )
    by_type = [row["f1"] for row in span_table(predictions, references)]
    return {
        "f1": f1,
        "precision": precision,
        "recall": recall,
        "f1_macro": float(np.mean(by_type)) if by_type else 0.0,
    }


def span_table(
    predictions: Sequence[Iterable[Span]], references: Sequence[Iterable[Span]]
) -> list[dict]:
    """Precision, recall, F1 and the number of reference entities of each type."""
    hits, answers, wanted = _counts(predictions, references)
    labels = sorted(answers.keys() | wanted.keys())
    return table_by_label(
        labels, *([count[label] for label in labels] for count in (hits, answers, wanted))
    )


def _counts(
    predictions: Sequence[Iterable[Span]], references: Sequence[Iterable[Span]]
) -> tuple[Counter, Counter, Counter]:
    hits, answers, wanted = (Counter[str]() for _ in range(3))
    for one, two in zip(predictions, references, strict=True):
        one, two = set(one), set(two)
        for count, spans in ((hits, one & two), (answers, one), (wanted, two)):
            count.update(kind for *_, kind in spans)
    return hits, answers, wanted
