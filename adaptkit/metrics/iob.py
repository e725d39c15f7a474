"""Entities in tag sequences of any scheme: BIO, IOB1, BIOES, BMES, BILOU."""

from __future__ import annotations

from collections.abc import Sequence


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
