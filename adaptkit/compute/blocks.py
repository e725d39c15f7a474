"""Rows of different lengths as one sequence of tokens: blocks of rows of similar lengths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

BLOCK = 8  # tokens that take as long as one more block


@dataclass(frozen=True, eq=False)
class Block:
    """Rows that lie side by side in a packed sequence, each padded at its end.

    start: its first token. rows, length: its shape. visible: `(rows, 1, 1, length)`, True at
    tokens that are no padding; None if there is no padding.
    owner: whatever the functions at the sites need to know of these rows.
    """

    start: int
    rows: int
    length: int
    visible: Tensor | None = None
    owner: Any = None

    def of(self, x: Tensor) -> Tensor:
        """Its part of a packed sequence, `(1, tokens, ...)` -> `(rows, length, ...)`, a view."""
        if self.rows == 1 and self.length == x.shape[1]:
            return x
        stop = self.start + self.rows * self.length
        return x[0, self.start : stop].view(self.rows, self.length, *x.shape[2:])


class Blocks:
    """The blocks of one forward pass."""

    def __init__(self, blocks: Sequence[Block]):
        self.blocks = blocks
        self._seen: tuple[Tensor | None, list[Tensor]] = None, []

    def of(self, x: Tensor) -> list[Tensor]:
        """Each block's part of x; the same tensors when it is asked for one x several times."""
        if self._seen[0] is not x:
            self._seen = x, [block.of(x) for block in self.blocks]
        return self._seen[1]


def cut(lengths: Sequence[int], block: int = BLOCK) -> list[slice]:
    """Where to cut rows into blocks, so that padding and the number of blocks cost least.

    Args:
        lengths: of the rows in tokens, longest first. block: what a block costs, in tokens.

    >>> cut([100, 100, 20, 19, 19])
    [slice(0, 2, None), slice(2, 5, None)]
    >>> cut([16, 15, 15])
    [slice(0, 3, None)]
    """
    starts = [0, *(i for i in range(1, len(lengths)) if lengths[i] < lengths[i - 1])]
    stops = [*starts[1:], len(lengths)]
    cost, last = {0: 0}, {0: 0}
    for stop in stops:
        cost[stop], last[stop] = min(
            (cost[start] + lengths[start] * (stop - start) + block, start)
            for start in starts
            if start < stop
        )
    found, stop = [], len(lengths)
    while stop:
        found.append(slice(last[stop], stop))
        stop = last[stop]
    return found[::-1]


def visible(lengths: Sequence[int]) -> Tensor | None:
    """Which tokens of a block are no padding, `(rows, 1, 1, length)`; None: all."""
    if min(lengths) == max(lengths):
        return None
    return (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None])[:, None, None]
