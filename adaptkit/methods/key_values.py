"""The keys and values of an attention module."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class KeyValues(NamedTuple):
    """Keys and values `(batch, heads, n, head width)`.

    `scores` `(batch, 1, queries, added)`: added to the attention scores of the columns that methods
    put in front; None for 0.
    """

    keys: Tensor
    values: Tensor
    scores: Tensor | None = None
