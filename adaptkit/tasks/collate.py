"""Batches: every list padded to the longest of its kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

IGNORED = -100


def by_column(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """Rows with the same keys as a list a key."""
    return {name: [row[name] for row in rows] for name in rows[0]}


@dataclass(frozen=True)
class Pad:
    """Makes tensors of encoded rows, filled on the right.

    values: what each column is filled with, 0 by default. multiple: lists get a length that it divides, so that batches have fewer
    shapes; but none longer than `most`, if they are not.
    """

    values: dict[str, Any]
    multiple: int = 1
    most: int = 0

    @classmethod
    def for_tokenizer(cls, tokenizer: Any) -> Pad:
        """Padding with a tokenizer's own ids."""
        values = {"input_ids": tokenizer.pad_token_id, "token_type_ids": tokenizer.pad_token_type_id, "labels": IGNORED}
        return cls(values)

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Tensor]:
        columns = [name for name in rows[0] if name != "length" and not name.startswith("_")]
        return {name: torch.tensor(self.filled(name, [row[name] for row in rows])) for name in columns}

    def filled(self, name: str, values: list[Any]) -> list[Any]:
        if not isinstance(values[0], list):
            return values
        longest, fill = max(map(len, values)), self.values.get(name, 0)
        width = max(longest, min(self.most, -(-longest // self.multiple) * self.multiple))
        return [value + [fill] * (width - len(value)) for value in values]
