"""Encoded pairs in the columns that TRL's trainers read. The tokens stay as they are."""

from __future__ import annotations

import random
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from adaptkit.data.collate import IGNORED

if TYPE_CHECKING:
    from datasets import Dataset

Example = dict[str, Any]
KEPT = ("input_ids", "attention_mask", "labels")


def pairs(encoded: Dataset) -> list[tuple[Example, Example]]:
    """The chosen and the rejected example of each pair, in order."""
    rows = encoded.to_list()
    return list(zip(rows[::2], rows[1::2], strict=True))


def for_dpo(encoded: Dataset, **order: Any) -> list[Example]:
    """A prompt's tokens, and those of both answers: from the first one on that is not the same.

    Where the first word of an answer is one token with the end of the prompt, that has loss here.
    """
    found = []
    for chosen, rejected in pairs(encoded):
        begin = min(_answer(chosen).start, _answer(rejected).start, _shared(chosen, rejected))
        row = {"prompt_ids": chosen["input_ids"][:begin]}
        for side, example in (("chosen", chosen), ("rejected", rejected)):
            row[f"{side}_ids"] = example["input_ids"][begin : _answer(example).stop]
        found.append(row)
    return found


def for_kto(encoded: Dataset, batch_size: int, seed: int) -> list[Example]:
    """Every answer by itself, in random order; beside it that of another row of its batch.

    The trainer takes the rows in this order, and estimates how far the model has moved by answers
    that do not belong to their prompts.
    """
    found = []
    for pair in pairs(encoded):
        for example, label in zip(pair, (True, False), strict=True):
            ids, place = example["input_ids"], _answer(example)
            row = {"prompt_ids": ids[: place.start], "completion_ids": ids[place]}
            found.append(row | {"label": label})
    random.Random(seed).shuffle(found)
    batches = [found[start : start + batch_size] for start in range(0, len(found), batch_size)]
    return [
        row | {"KL_completion_ids": before["completion_ids"]}
        for batch in batches
        for row, before in zip(batch, [batch[-1], *batch[:-1]], strict=True)
    ]


def for_cpo(encoded: Dataset, **order: Any) -> list[Example]:
    """Both conversations with their labels. The texts are not read again."""
    texts = {"prompt": "", "chosen": "", "rejected": ""}
    found = []
    for pair in pairs(encoded):
        row: Example = dict(texts)
        for side, example in zip(("chosen", "rejected"), pair, strict=True):
            row |= {f"{side}_{key}": example[key] for key in KEPT}
        found.append(row)
    return found


KEPT = ("input_ids", "attention_mask", "labels")


def _answer(example: Example) -> slice:
    """The answer's tokens: all from the first label to the last one."""
    places = [i for i, label in enumerate(example["labels"]) if label != IGNORED]
    return slice(places[0], places[-1] + 1)


def _shared(one: Example, other: Example) -> int:
    """How many tokens both begin with."""
    pairs = zip(one["input_ids"], other["input_ids"], strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
