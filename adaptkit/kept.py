"""Hidden states that are kept by the text that they belong to, in memory or in files: see `adaptkit.trunk`.

The states of a text are the rows of one long table, `(tokens, width)`, which grows by blocks; a digest of what the model read finds
them again. So the same text is found whatever fold, seed or trial it comes from.
"""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

BLOCK = 1 << 26  # bytes


class Kept:
    """Hidden states by digest.

    Args:
        folder: where the files go, in a folder of their own that is removed at the end; None keeps all in memory.
    """

    def __init__(self, folder: str | Path | None = None):
        self.folder = None if folder is None else Path(folder)
        self.source: object = None  # which trunk the states came out of
        self._remove: Callable[[], object] | None = None
        self.clear()

    def clear(self) -> None:
        """Forget everything, and remove the files."""
        self._where: dict[bytes, tuple[int, int, int]] = {}  # digest -> block, first row, rows
        self._blocks: list[Tensor] = []
        self._used = 0  # rows of the last block
        if self._remove:
            self._remove()
        self._remove = None

    def __contains__(self, digest: bytes) -> bool:
        return digest in self._where

    def __len__(self) -> int:
        return len(self._where)

    @property
    def size(self) -> int:
        """Bytes that the blocks take."""
        return sum(block.numel() * block.element_size() for block in self._blocks)

    @property
    def width(self) -> int:
        """Of the states."""
        return self._blocks[0].shape[1]

    def put(self, digest: bytes, states: Tensor) -> None:
        """Keep the states of a text, `(tokens, width)`."""
        rows, width = states.shape
        if not self._blocks or self._used + rows > len(self._blocks[-1]):
            self._blocks.append(self._new_block(max(rows, BLOCK // (width * states.element_size())), width, states.dtype))
            self._used = 0
        self._blocks[-1][self._used : self._used + rows] = states
        self._where[digest] = (len(self._blocks) - 1, self._used, rows)
        self._used += rows

    def _new_block(self, rows: int, width: int, dtype: torch.dtype) -> Tensor:
        if self.folder is None:
            return torch.empty(rows, width, dtype=dtype)
        if self._remove is None:
            ours = self.folder if not self.folder.exists() else None  # what we made goes with the files
            self.folder.mkdir(parents=True, exist_ok=True)
            self._files = Path(tempfile.mkdtemp(prefix="kept-", dir=self.folder))
            self._remove = weakref.finalize(self, shutil.rmtree, ours or self._files, True)
        file = self._files / f"{len(self._blocks)}.bin"
        return torch.from_file(str(file), shared=True, size=rows * width, dtype=dtype).view(rows, width)

    def batch(self, digests: Sequence[bytes], starts: Sequence[int], tokens: int) -> Tensor:
        """The states of some texts, each from its first token on; `(texts, tokens, width)`, zeros elsewhere."""
        first = self._blocks[0]
        found = torch.zeros(len(digests), tokens, first.shape[1], dtype=first.dtype)
        for row, (digest, start) in enumerate(zip(digests, starts, strict=True)):
            block, begin, count = self._where[digest]
            found[row, start : start + count] = self._blocks[block][begin : begin + count]
        return found
