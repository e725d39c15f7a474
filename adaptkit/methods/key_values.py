"""What an attention module attends to."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class KeyValues(NamedTuple):
    """What an attention reads: keys and values `(batch, heads, n, head width)`.

    `scores` `(batch, 1, queries, added)`: what is added to the scores of the columns that methods
    put in front; None for 0.
    """

    keys: Tensor
    values: Tensor
    scores: Tensor | None = None
