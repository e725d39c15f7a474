"""What adapters do at a module of a captured network: one operation in its graph."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor, nn

from adaptkit.compute.blocks import Blocks


class Layer(Protocol):
    """Changes the output of a module for the rows of a block."""

    path: str

    def change(self, owner: Any, x: Tensor, y: Tensor, stream: Tensor | None) -> Tensor:
        """y of a block, changed; y itself if that was done in place.

        owner: the block's. x: the module's input, y: its output, stream: what entered its block.
        """
        ...


@torch.library.custom_op("adaptkit::site", mutates_args=())
def site(x: Tensor, y: Tensor, stream: Tensor | None, path: str) -> Tensor:
    """Stands for `Change` in a graph; it never runs."""
    raise NotImplementedError


@site.register_fake
def _(x: Tensor, y: Tensor, stream: Tensor | None, path: str) -> Tensor:
    return torch.empty_like(y)


class Change(nn.Module):
    """Asks a layer to change its output, block by block."""

    def __init__(self, layer: Layer):
        super().__init__()
        self._change = layer.change

    def forward(self, x: Tensor, y: Tensor, stream: Tensor | None, blocks: Blocks) -> Tensor:
        inputs = blocks.of(x)
        entered = [None] * len(inputs) if stream is None else [b.of(stream) for b in blocks.blocks]
        for block, given, before in zip(blocks.blocks, inputs, entered, strict=True):
            own = block.of(y)
            changed = self._change(block.owner, given, own, before)
            if changed is not own:
                own.copy_(changed)
        return y
