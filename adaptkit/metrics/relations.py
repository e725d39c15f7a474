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
    names = sorted({*predictions, *references})
    number = {name: index for index, name in enumerate(names)}
    one, two = (
        np.asarray([number[label] for label in part], dtype=int)
        for part in (predictions, references)
    )
    return relation_f1(one, two, *relations_of(names, no_relation))


def relations_of(labels: list[str], no_relation: str) -> tuple[np.ndarray, int]:
    """The relation of each label, as a number `(labels,)`, and that of `no_relation`, or -1."""
    kinds = sorted({_kind(label) for label in labels})
    left_out = kinds.index(_kind(no_relation)) if _kind(no_relation) in kinds else -1
    return np.asarray([kinds.index(_kind(label)) for label in labels], dtype=int), left_out


def relation_f1(
    predictions: np.ndarray, references: np.ndarray, relations: np.ndarray, left_out: int
) -> float:
    """`semeval_f1` of class indices `(rows,)`; the others are from `relations_of`."""
    hits, answers, wanted = (
        np.bincount(relations[labels], minlength=relations.max(initial=0) + 1)
        for labels in (references[predictions == references], predictions, references)
    )
    counted = (wanted > 0) & (np.arange(len(wanted)) != left_out)
    f1 = precision_recall_f1(hits, answers, wanted)[2][counted]
    return float(f1.mean()) if len(f1) else 0.0


def _kind(label: str) -> str:
    return label.partition("(")[0]
