"""The official score of SemEval-2010 task 8.

>>> from adaptkit.metrics.relations import semeval_f1
>>> semeval_f1(["A(e1,e2)", "A(e2,e1)"], ["A(e1,e2)", "A(e1,e2)"])
0.5
"""

from __future__ import annotations

import numpy as np

from adaptkit.metrics.counts import precision_recall_f1


def semeval_f1(predictions: list[str], references: list[str], no_relation: str = "Other") -> float:
    """Macro F1 over relations other than `no_relation`, 0 to 1: the scorer's 9+1-way evaluation.

    Hendrickx et al. 2010. As in the scorer, only relations that occur in the references count. A
    relation is correct only with the right direction; both directions count as one relation.
    """
    kinds = sorted({_kind(label) for label in references} - {_kind(no_relation)})
    if not kinds:
        return 0.0
    predicted, actual = (
        [_kind(label) for label in predictions],
        [_kind(label) for label in references],
    )
    hits = [
        sum(p == r and _kind(p) == kind for p, r in zip(predictions, references, strict=True))
        for kind in kinds
    ]
    counts = (
        np.asarray(hits),
        np.asarray([predicted.count(kind) for kind in kinds]),
        np.asarray([actual.count(k) for k in kinds]),
    )
    return float(precision_recall_f1(*counts)[2].mean())


def _kind(label: str) -> str:
    return label.partition("(")[0]
