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


def bio_labels(kinds: Sequence[str]) -> list[str]:
    """The labels of a model that tags these types: O, and B- and I- of each."""
    return ["O", *(f"{mark}-{kind}" for kind in kinds for mark in "BI")]


def best_tags(scores: np.ndarray, labels: Sequence[str]) -> list[int]:
    """The numbers of the likeliest tags of which none continues an entity that is not there.

    `I-x` follows `B-x` or `I-x` alone. The best path over all units is found (Viterbi 1967), so a
    sure tag inside an entity can correct an unsure one before it. Labels other than `bio_labels`
    may be of another scheme, and each unit gets its likeliest.

    Args:
        scores: log probabilities `(units, labels)`.
    """
    if list(labels) != bio_labels([label[2:] for label in labels[1::2]]):
        return scores.argmax(1).tolist()
    scores = np.where(np.isnan(scores).any(1, keepdims=True), 0.0, scores)  # no more than unknown
    begun, inside = np.arange(1, len(labels), 2), np.arange(2, len(labels), 2)
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
