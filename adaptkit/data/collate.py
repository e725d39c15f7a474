"""Collate encoded rows into padded batches."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from adaptkit.errors import AdaptkitError

if TYPE_CHECKING:
    from torch import Tensor

IGNORED = -100

MULTIPLE = 8  # tokens


def by_column(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """Turn rows with the same keys into one list per key."""
    return {name: [row[name] for row in rows] for name in rows[0]}


@dataclass(frozen=True)
class Pad:
    """Collator: makes tensors of encoded rows, padded on the right.

    values: the padding value of each column, 0 by default.
    texts, most: these columns are padded to a multiple of `MULTIPLE` tokens, but at most to `most`
        unless a row is longer.
    """

    values: dict[str, Any]
    texts: tuple[str, ...] = ()
    most: int = 0

    @classmethod
    def for_tokenizer(cls, tokenizer: Any) -> Pad:
        """A collator that pads with the tokenizer's ids."""
        values = {
            "input_ids": tokenizer.pad_token_id,
            "token_type_ids": tokenizer.pad_token_type_id,
            "labels": IGNORED,
        }
        return cls(values)

    def in_few_shapes(self, rows: Any) -> Pad:
        """A collator for batches of these rows with fewer shapes.

        Columns with the length of the text are padded to a multiple.
        """
        lengths = list(rows["length"])
        if len(set(lengths)) < 2:
            return self
        columns = {
            name: rows[name]
            for name, value in rows[0].items()
            if isinstance(value, list | np.ndarray)
        }
        texts = tuple(
            name for name, column in columns.items() if [len(value) for value in column] == lengths
        )
        return dataclasses.replace(self, texts=texts, most=max(lengths))

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Tensor]:
        columns = [name for name in rows[0] if name != "length" and not name.startswith("_")]
        return {name: self._tensor(name, [row[name] for row in rows]) for name in columns}

    def width(self, longest: int) -> int:
        """The padded length of a batch, in tokens."""
        return max(longest, min(self.most, -(-longest // MULTIPLE) * MULTIPLE))

    def _needless(self, name: str, full: bool) -> int:
        """A placeholder for padding that is not used."""
        if not full:
            raise AdaptkitError(
                f"texts of different lengths need a padding token for {name}, and this tokenizer "
                "has none."
            )
        return 0

    def _tensor(self, name: str, values: list[Any]) -> Tensor:
        import torch  # not above: tasks import this file, and --help is fast

        if not isinstance(values[0], list | np.ndarray):
            return torch.tensor(values)
        arrays = [np.asarray(value) for value in values if len(value)]
        width, fill = max(map(len, values)), self.values.get(name, 0)
        if name in self.texts:
            width = self.width(width)
        if fill is None:
            fill = self._needless(name, all(len(value) == width for value in values))
        kind = np.result_type(*{array.dtype for array in arrays}).kind if arrays else "i"
        inner = arrays[0].shape[1:] if arrays else ()
        filled = np.full(
            (len(values), width, *inner), fill, {"f": np.float32, "b": np.bool_}.get(kind, np.int64)
        )
        for row, value in zip(filled, values, strict=True):
            if len(value):
                row[: len(value)] = value
        return torch.from_numpy(filled)
