"""Encoded rows in memory: reading a row from Arrow is slower than training on it on a GPU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow
from torch.utils.data import Dataset as TorchDataset

if TYPE_CHECKING:
    from datasets import Dataset

MOST_BYTES = 5e8  # larger tables stay in Arrow


class Lists:
    """A column of number lists; row `i` is a view `(length,)` of one array that holds all."""

    def __init__(self, column: Any):
        self._ends, self._values = column.offsets.to_numpy(), column.values.to_numpy()

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, row: int) -> Any:
        if not 0 <= row < len(self):
            raise IndexError(row)
        return self._values[self._ends[row] : self._ends[row + 1]]


class Encoded(TorchDataset):
    """Encoded rows without the columns that start with _; number lists are arrays.

    A row is a dict; `encoded["length"]` is a column.
    """

    def __init__(self, encoded: Dataset):
        kept = [name for name in encoded.column_names if not name.startswith("_")]
        table = encoded.select_columns(kept).with_format("arrow")[:]
        self._rows = len(table)
        self._columns = {name: _column(table.column(name).combine_chunks()) for name in kept}

    @classmethod
    def of(cls, encoded: Any) -> Any:
        """The same rows in memory; unchanged if they are too many or are not a plain table."""
        from datasets import Dataset

        if (
            type(encoded) is not Dataset
            or encoded.format["type"]
            or encoded.format["columns"] != encoded.column_names
        ):
            return encoded
        bytes_a_row = encoded.data.nbytes / max(1, len(encoded.data))
        return cls(encoded) if bytes_a_row * len(encoded) <= MOST_BYTES else encoded

    def __len__(self) -> int:
        return self._rows

    def __getitem__(self, key: int | str) -> Any:
        if isinstance(key, str):
            return self._columns[key]
        return {name: column[key] for name, column in self._columns.items()}


def _column(array: Any) -> Any:
    """A column that returns a row's value by index."""
    lists = pyarrow.types.is_list(array.type) and pyarrow.types.is_primitive(array.type.value_type)
    if (
        not lists
        or array.null_count
        or array.values.null_count
        or pyarrow.types.is_boolean(array.type.value_type)
    ):
        return array.to_pylist()
    return Lists(array)
