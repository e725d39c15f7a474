"""Add learned keys and values through transformers' attention interface, not through the cache.

Each attention module looks up its function by the name in `config._attn_implementation`. `Route`
stands in for the config of one attention module: it returns our function's name and passes all
other attributes on to the real config, so the model can still switch to another implementation
later. Our function puts the methods' columns in front, widens the mask (the new columns are
visible from every position) and calls the implementation that the model is set to.
"""

from __future__ import annotations

import sys
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AttentionInterface
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from adaptkit.errors import AdaptkitError
from adaptkit.methods.key_values import KeyValues

NAME = "adaptkit"


class Owner(Protocol):
    """The layer around an attention's query map, which adds columns to the keys and values."""

    def join(self, y: KeyValues) -> KeyValues:
        """The keys and values with the owner's columns in front."""
        ...


class Route:
    """The config of one attention module, with another attention function."""

    def __init__(self, config, owner: Owner):
        self.config = config
        self.owner = owner

    @property
    def _attn_implementation(self) -> str:
        return NAME

    def __getattr__(self, name: str):
        if name in ("config", "owner") or name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.config, name)


def check_routable(attention: nn.Module) -> None:
    """Check that columns can be added to the keys and values of `attention`.

    Raises:
        AdaptkitError: the module does not use transformers' attention interface.
    """
    if not hasattr(attention, "config"):
        raise AdaptkitError(
            f"{type(attention).__name__} does not call transformers' attention interface, so no "
            "prefix can be added to it."
        )


def route(attention: Any, owner: Owner) -> None:
    """Let `owner` add columns to the keys and values of `attention`."""
    if not isinstance(attention.config, Route):
        attention.config = Route(attention.config, owner)


def unroute(attention: Any) -> None:
    """Restore the config of `attention`."""
    if isinstance(attention.config, Route):
        attention.config = attention.config.config


def attend(module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask, **kwargs):
    """The attention function of routed modules, with the signature of transformers' interface.

    query `(batch, heads, queries, width)`; key and value `(batch, key-value heads, n, width)`; mask
    `(batch, 1, queries, n)`, boolean (True is visible) or added to the scores, or `(batch, n)` for
    flash attention, or None.
    """
    real = module.config.config._attn_implementation
    eager: Any = getattr(sys.modules[type(module).__module__], "eager_attention_forward", None)
    function = ALL_ATTENTION_FUNCTIONS.get_interface(real, eager)
    joined = module.config.owner.join(KeyValues(key, value))
    added = joined.keys.shape[-2] - key.shape[-2]
    if added:
        attention_mask = _widen(module, real, attention_mask, query, key, joined, kwargs)
        if (
            kwargs.get("position_bias") is not None
        ):  # T5 adds its relative positions to the scores: 0 for the prefix
            kwargs["position_bias"] = F.pad(kwargs["position_bias"], (added, 0))
    return function(module, query, joined.keys, joined.values, attention_mask, **kwargs)


def _widen(module, real: str | None, mask, query: Tensor, key: Tensor, joined: KeyValues, kwargs):
    """The mask with one more column per added key: visible, or with the added scores."""
    added = joined.keys.shape[-2] - key.shape[-2]
    if real and "flash" in real:
        return _widen_flash(mask, added, joined, kwargs)
    if not (mask is None or isinstance(mask, Tensor)):
        raise AdaptkitError(
            f"prefixes do not work with attn_implementation={real!r}; use 'sdpa' or 'eager'."
        )
    queries, n = query.shape[-2], key.shape[-2]
    causal = kwargs.get("is_causal")
    causal = getattr(module, "is_causal", False) if causal is None else causal
    if mask is None and causal and queries > 1:
        mask = torch.ones(queries, n, dtype=torch.bool, device=query.device).tril()[None, None]
    if joined.scores is None:
        return (
            None
            if mask is None
            else F.pad(mask, (added, 0), value=True if mask.dtype == torch.bool else 0.0)
        )
    scores = F.pad(joined.scores.to(query.dtype), (0, added - joined.scores.shape[-1]))
    if mask is None:
        mask = scores.new_zeros(1, 1, 1, n)
    elif mask.dtype == torch.bool:
        mask = torch.zeros_like(mask, dtype=query.dtype).masked_fill(
            ~mask, torch.finfo(query.dtype).min
        )
    shape = torch.broadcast_shapes(mask.shape[:-1], scores.shape[:-1])
    return torch.cat([scores.expand(*shape, -1), mask.expand(*shape, -1)], -1)


def _widen_flash(mask, added: int, joined: KeyValues, kwargs):
    """Widen padding masks only: flash kernels align causal masks with the last column."""
    if (
        joined.scores is not None
        or kwargs.get("sliding_window")
        or kwargs.get("cu_seq_lens_q") is not None
    ):
        raise AdaptkitError(
            "flash attention takes no gated prefix, and no prefix with sliding windows or packed "
            "sequences; "
            "load the base with attn_implementation='sdpa'."
        )
    return None if mask is None else F.pad(mask, (added, 0), value=1)


AttentionInterface.register(NAME, attend)
