"""Precision, recall and F1 of entities: (start, end, type) spans with exact boundaries and type.

>>> span_scores([[(0, 2, "PER")]], [[(0, 2, "PER"), (2, 3, "LOC")]])["recall"]
0.5
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from adaptkit.metrics.classification import table_by_label
from adaptkit.metrics.counts import precision_recall_f1
from adaptkit.metrics.row_scores import Counts, RowScores

Span = tuple[int, int, str]


def span_scores(
    predictions: Sequence[Iterable[Span]], references: Sequence[Iterable[Span]]
) -> dict[str, float]:
    """Micro precision, recall and F1, and macro F1 over types, of (start, end, type) per row."""
    return span_rows(predictions, references)()


def span_rows(
    predictions: Sequence[Iterable[Span]],
    references: Sequence[Iterable[Span]],
    types: Iterable[str] = (),
) -> RowScores:
    """`span_scores` of any rows. types: those of the task; others that occur are added."""
    counts, _ = _counts(predictions, references, types)
    return RowScores((counts,), _scores)


def _scores(totals: np.ndarray) -> dict[str, float]:
    counts = totals.reshape(3, -1)  # hits, predictions, references of each type
    precision, recall, f1 = precision_recall_f1(*counts.sum(1, keepdims=True))
    by_type = precision_recall_f1(*counts)[2][counts[1] + counts[2] > 0]
    return {
        "f1": float(f1[0]),
        "precision": float(precision[0]),
        "recall": float(recall[0]),
        "f1_macro": float(by_type.mean()) if len(by_type) else 0.0,
    }


def span_table(
    predictions: Sequence[Iterable[Span]], references: Sequence[Iterable[Span]]
) -> list[dict]:
    """Precision, recall, F1 and the number of reference entities of each type."""
    counts, types = _counts(predictions, references)
    totals = counts[np.arange(len(counts))].astype(int)
    return table_by_label(types, *totals.reshape(3, -1))


def _counts(
    predictions: Sequence[Iterable[Span]],
    references: Sequence[Iterable[Span]],
    types: Iterable[str] = (),
) -> tuple[Counts, list[str]]:
    """The hits, predictions and references of each type in each row; and the types."""
    pairs = [(set(one), set(two)) for one, two in zip(predictions, references, strict=True)]
    found = [
        (row, kind, which)
        for row, (one, two) in enumerate(pairs)
        for which, spans in enumerate((one & two, one, two))
        for *_, kind in spans
    ]
    names = sorted({*types, *(kind for _, kind, _ in found)})
    number = {name: index for index, name in enumerate(names)}
    rows, columns = (
        np.asarray(values, dtype=int)
        for values in (
            [row for row, _, _ in found],
            [which * len(names) + number[kind] for _, kind, which in found],
        )
    )
    return Counts(rows, columns, (len(pairs), 3 * len(names))), names
