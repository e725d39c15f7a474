"""Encoded pairs in the columns that TRL's trainers read. The tokens stay as they are."""

from __future__ import annotations

import random
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
    """A prompt's tokens, and those of both answers."""
    found = []
    for chosen, rejected in pairs(encoded):
        (prompt, better), (_, worse) = _parts(chosen), _parts(rejected)
        found.append({"prompt_ids": prompt, "chosen_ids": better, "rejected_ids": worse})
    return found


def for_kto(encoded: Dataset, batch_size: int, seed: int) -> list[Example]:
    """Every answer by itself, in random order; beside it that of another row of its batch.

    The trainer takes the rows in this order, and estimates how far the model has moved by answers
    that do not belong to their prompts.
    """
    found = []
    for pair in pairs(encoded):
        for example, label in zip(pair, (True, False), strict=True):
            prompt, answer = _parts(example)
            found.append({"prompt_ids": prompt, "completion_ids": answer, "label": label})
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


def _parts(example: Example) -> tuple[list[int], list[int]]:
    """The tokens before the answer, and the answer: all from the first label to the last one."""
    places = [i for i, label in enumerate(example["labels"]) if label != IGNORED]
    return example["input_ids"][: places[0]], example["input_ids"][places[0] : places[-1] + 1]
