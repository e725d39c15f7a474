"""Attention within the rows of a packed sequence, through transformers' attention interface.

While a network is captured, each of its attention modules calls `stand_in`, which leaves one
operation in the graph; `Attend` is what this operation does when the graph runs.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AttentionInterface

from adaptkit.compute.blocks import Block, Blocks
from adaptkit.errors import AdaptkitError

NAME = "adaptkit_blocks"
# What attention functions are told that changes nothing in what they compute.
HARMLESS = {
    *("dropout", "position_ids", "cache_position", "position_embeddings", "use_cache"),
    *("output_attentions", "output_hidden_states", "return_dict", "training", "deterministic"),
}


class NotCapturedError(AdaptkitError):
    """The network does something that a captured one would not."""


@torch.library.custom_op("adaptkit::attend", mutates_args=())
def attend(
    query: Tensor, key: Tensor, value: Tensor, scale: float, causal: bool, window: int
) -> Tensor:
    """Stands for `Attend` in a graph; it never runs."""
    raise NotImplementedError


@attend.register_fake
def _(query: Tensor, key: Tensor, value: Tensor, scale: float, causal: bool, window: int) -> Tensor:
    return query.new_empty(query.shape[0], query.shape[2], query.shape[1], value.shape[-1])


def stand_in(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Any,
    scaling: float | None = None,
    is_causal: bool | None = None,
    sliding_window: int | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """The attention function of a network while it is captured.

    Raises:
        NotCapturedError: it is asked for a mask, a bias or a cap of its own.
    """
    strange = [name for name, value in others.items() if value is not None and name not in HARMLESS]
    if attention_mask is not None or strange:
        asked = ", ".join(strange) or "a mask"
        raise NotCapturedError(f"{type(module).__name__} gives its attention {asked}")
    causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    scale = query.shape[-1] ** -0.5 if scaling is None else float(scaling)
    return torch.ops.adaptkit.attend(query, key, value, scale, causal, sliding_window or 0), None


ATTENDS = torch.ops.adaptkit.attend.default
AttentionInterface.register(NAME, stand_in)


class Attend(nn.Module):
    """Each row attends to itself, `(1, heads, tokens, width)` -> `(1, tokens, heads, width)`."""

    def __init__(self, scale: float, causal: bool, window: int):
        super().__init__()
        self.scale, self.causal, self.window = scale, causal, window

    def forward(self, query: Tensor, key: Tensor, value: Tensor, blocks: Blocks) -> Tensor:
        grouped = query.shape[1] != key.shape[1]
        found = []
        given = (x.transpose(1, 2) for x in (query, key, value))
        parts = zip(*([block.of(x) for block in blocks.blocks] for x in given), strict=True)
        for block, own in zip(blocks.blocks, parts, strict=True):
            q, k, v = (x.transpose(1, 2) for x in own)
            mask, causal = self._mask(block)
            answer = F.scaled_dot_product_attention(
                q, k, v, mask, is_causal=causal, scale=self.scale, enable_gqa=grouped
            )
            found.append(answer.transpose(1, 2).flatten(0, 1))
        return (found[0] if len(found) == 1 else torch.cat(found))[None]

    def _mask(self, block: Block) -> tuple[Tensor | None, bool]:
        """What the tokens of a block see of it, and whether only what is before them.

        Padding is behind a row's tokens, so those that look back do not see it.
        """
        if not 0 < self.window < block.length:
            return None if self.causal else block.visible, self.causal
        places = torch.arange(block.length)
        ago = places[:, None] - places
        near = ago.abs() < self.window
        if self.causal:
            return near & (ago >= 0), False
        if block.visible is None:
            return near, False
        return near & block.visible | (ago == 0), False  # padding sees itself, to stay a number
