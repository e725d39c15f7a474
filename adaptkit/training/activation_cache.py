"""The activation cache: hidden states by text, in memory or in files.

See `adaptkit.training.frozen_layers`. The states of a text are rows of one long table, `(tokens,
width)`, which grows by blocks. They are found by a digest of the model's input, so a text is found
again in any fold, seed or trial.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from adaptkit.errors import AdaptkitError
from adaptkit.utils.atomic_files import make_folder
from adaptkit.utils.writing import writing

BLOCK = 1 << 26  # bytes


class ActivationCache:
    """Hidden states by digest.

    Args:
        folder: on whose disk to store them, in files without a name: they are gone when the process
            ends, however it ends. None stores all in memory.
    """

    def __init__(self, folder: str | Path | None = None):
        self.folder = None if folder is None else Path(folder)
        self.source: object = None  # the frozen layers that the states came from
        self.clear()

    def clear(self) -> None:
        """Remove all states and files."""
        self._where: dict[bytes, tuple[int, int, int]] = {}  # digest -> block, first row, rows
        self._blocks: list[Tensor] = []
        self._used = 0  # rows of the last block

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
        """The width of the states."""
        return self._blocks[0].shape[1]

    def put(self, digest: bytes, states: Tensor) -> None:
        """Store the states of a text, `(tokens, width)`.

        Raises:
            AdaptkitError: the disk does not take them.
        """
        rows, width = states.shape
        if not self._blocks or self._used + rows > len(self._blocks[-1]):
            self._blocks.append(
                self._new_block(
                    max(rows, BLOCK // (width * states.element_size())), width, states.dtype
                )
            )
            self._used = 0
        self._blocks[-1][self._used : self._used + rows] = states
        self._where[digest] = (len(self._blocks) - 1, self._used, rows)
        self._used += rows

    def _new_block(self, rows: int, width: int, dtype: torch.dtype) -> Tensor:
        if self.folder is None:
            return torch.empty(rows, width, dtype=dtype)
        make_folder(self.folder)
        size = rows * width * dtype.itemsize
        try:
            with writing(self.folder), tempfile.TemporaryFile(dir=self.folder) as file:
                _allocate(file.fileno(), size)
                mapped = mmap.mmap(file.fileno(), size)
        except AdaptkitError as problem:
            raise AdaptkitError(
                f"the frozen layers' outputs: {problem} --frozen_trunk memory keeps them in "
                "memory, off computes them each time."
            ) from problem
        return torch.frombuffer(mapped, dtype=dtype).view(rows, width)

    def batch(self, digests: Sequence[bytes], starts: Sequence[int], tokens: int) -> Tensor:
        """The states of some texts, `(texts, tokens, width)`, padded with zeros.

        Each text is placed at its first token.
        """
        first = self._blocks[0]
        found = torch.zeros(len(digests), tokens, first.shape[1], dtype=first.dtype)
        for row, (digest, start) in enumerate(zip(digests, starts, strict=True)):
            block, begin, count = self._where[digest]
            found[row, start : start + count] = self._blocks[block][begin : begin + count]
        return found


def _allocate(file: int, size: int) -> None:
    """Take the space on the disk now: a mapped file that finds none later ends the process."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, 0, size)
        return
    for start in range(0, size, BLOCK):
        os.write(file, bytes(min(BLOCK, size - start)))


READ = (
    "input_ids",
    "attention_mask",
    "token_type_ids",
    "position_ids",
)  # the model inputs that make up a text, each `(rows, tokens)`

NO_MATTER = ("cache_position",)  # tensors that follow from the shapes


@dataclass(frozen=True)
class BatchKeys:
    """The texts of one forward pass: a digest and the start of each, and the width of the batch."""

    digests: list[bytes]
    starts: list[int]
    lengths: list[int]
    tokens: int
    device: torch.device

    @classmethod
    def read(cls, args: tuple, kwargs: dict[str, Any]) -> BatchKeys | None:
        """The texts in a model's arguments, or None if its states may depend on other arguments."""
        given = dict(zip(READ, args, strict=False)) | kwargs
        tensors = {
            name: value
            for name, value in given.items()
            if isinstance(value, Tensor) and name not in NO_MATTER
        }
        asked = any(
            given.get(name)
            for name in (
                "output_hidden_states",
                "output_attentions",
                "use_cache",
                "past_key_values",
            )
        )
        shapes = {tuple(tensor.shape) for tensor in tensors.values()}
        if (
            asked
            or "input_ids" not in tensors
            or tensors.keys() - set(READ)
            or len(shapes) != 1
            or len(args) > len(READ)
        ):
            return None
        ids = tensors["input_ids"]
        names = [name for name in READ if name in tensors]
        columns = torch.stack([tensors[name].to(torch.int64) for name in names], -1).cpu().numpy()
        mask = tensors.get("attention_mask")
        seen = torch.ones_like(ids).numpy(force=True) if mask is None else mask.numpy(force=True)
        digests, starts, lengths = [], [], []
        for row, visible in zip(columns, seen, strict=True):
            places = visible.nonzero()[0]
            start, end = (int(places[0]), int(places[-1]) + 1) if len(places) else (0, 0)
            digests.append(
                hashlib.blake2b(
                    f"{names}{start}".encode() + row[start:end].tobytes(), digest_size=16
                ).digest()
            )
            starts.append(start)
            lengths.append(end - start)
        return cls(digests, starts, lengths, ids.shape[1], ids.device)

    def keep(self, cache: ActivationCache, states: Tensor) -> None:
        """Store the states of the texts, `(texts, tokens, width)`, unless already stored."""
        states = states.detach().cpu()
        for row, digest in enumerate(self.digests):
            if digest not in cache:
                start = self.starts[row]
                cache.put(digest, states[row, start : start + self.lengths[row]])

    def find(self, cache: ActivationCache) -> Tensor | None:
        """The stored states of the texts, `(texts, tokens, width)`, or None if one is missing."""
        if all(digest in cache for digest in self.digests):
            return cache.batch(self.digests, self.starts, self.tokens).to(
                self.device, non_blocking=True
            )
        return None
