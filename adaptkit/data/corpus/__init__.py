"""The embedded corpus: 384 messages to an online shop's support, written for this project.

Licence: Apache-2.0. Each row has `id`, `split` (train, validation, test), `text`, `intent` (10
kinds), `sentiment` (positive, neutral, negative), `urgency` (1 to 5), `entities` (start, end,
label; end exclusive), `relations` (head and tail are indices into the entities), `question` with
its `answer` (start, text), `summary`, `reply`, `chinese`, a translation of the text, and
`other_reply`: the reply to the next message of its intent and split, which does not fit so well.
"""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any


def load_corpus(split: str | None = None) -> list[dict[str, Any]]:
    """The rows of one split, or all of them."""
    lines = (files(__name__) / "messages.jsonl").read_text("utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["split"], row["intent"]), []).append(row)
    for group in groups.values():
        for row, following in zip(group, [*group[1:], group[0]], strict=True):
            row["other_reply"] = following["reply"]
    return [row for row in rows if split in (None, row["split"])]
