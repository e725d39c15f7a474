"""Entities in tag sequences of any scheme: BIO, IOB1, BIOES, BMES, BILOU."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def chunks(tags: Sequence[str]) -> list[tuple[int, int, str]]:
    """(first, last, type) of the entities in tags of any scheme: BIO, IOB1, BIOES, BMES, BILOU.

    A tag that continues nothing starts an entity, as in conlleval and seqeval.
    """
    found: list[tuple[int, int, str]] = []
    kind, start, before = "", 0, "O"
    for place, tag in enumerate([*tags, "O"]):
        mark, _, label = tag.partition("-")
        begins = mark in "BSUW" or before in "OESLUW" or label != kind
        if kind and (mark == "O" or begins):
            found.append((start, place - 1, kind))
            kind = ""
        if mark != "O" and not kind:
            kind, start = label, place
        before = mark
    return found


def best_tags(scores: np.ndarray, labels: Sequence[str]) -> list[int]:
    """The numbers of the likeliest tags of which none continues an entity that is not there.

    `I-x` follows `B-x` or `I-x` alone, where there is a label `B-x`. The best path over all units
    is found (Viterbi 1967), so a sure tag inside an entity can correct an unsure one before it.

    Args:
        scores: log probabilities `(units, labels)`.
    """
    known = {label: number for number, label in enumerate(labels)}
    inside = [n for label, n in known.items() if label[:2] == "I-" and f"B-{label[2:]}" in known]
    begun = [known[f"B-{labels[number][2:]}"] for number in inside]
    best, back = scores[0].astype(np.float64), []
    best[inside] = -np.inf
    for here in scores[1:]:
        before = np.full(len(labels), int(best.argmax()))
        before[inside] = np.where(best[inside] >= best[begun], inside, begun)
        best = best[before] + here
        back.append(before)
    path = [int(best.argmax())]
    for before in reversed(back):
        path.append(int(before[path[-1]]))
    return path[::-1]
