"""Encoded rows in memory: a row out of an Arrow table takes longer than a GPU takes to train on it."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pyarrow
from torch.utils.data import Dataset as TorchDataset

if TYPE_CHECKING:
    from datasets import Dataset

MOST = 5e8  # bytes: larger tables stay where they are


class Encoded(TorchDataset):
    """A table of encoded rows; lists of numbers are views of one array a column, all else is as `datasets` gives it.

    A row is a dict; `encoded["length"]` is a column.
    """

    def __init__(self, encoded: Dataset):
        table = encoded.with_format("arrow")[:]
        self._rows = len(table)
        self._columns = {name: _column(table.column(name).combine_chunks()) for name in table.column_names}

    @classmethod
    def of(cls, encoded: Any) -> Any:
        """The rows in memory, where they are few enough, and a table."""
        table = getattr(encoded, "data", None)
        return cls(encoded) if table is not None and table.nbytes <= MOST else encoded

    def __len__(self) -> int:
        return self._rows

    def __getitem__(self, key: int | str) -> Any:
        if isinstance(key, str):
            return self._columns[key]
        return {name: column[key] for name, column in self._columns.items()}


def _column(array: Any) -> Any:
    """Something that gives a row by its number."""
    lists = pyarrow.types.is_list(array.type) and pyarrow.types.is_primitive(array.type.value_type)
    if not lists or array.null_count or array.values.null_count or pyarrow.types.is_boolean(array.type.value_type):
        return array.to_pylist()
    ends = array.offsets.to_numpy()
    values = array.values.to_numpy()
    return [values[start:end] for start, end in pairwise(ends)]
