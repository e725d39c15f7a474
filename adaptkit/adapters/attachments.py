"""Attach methods to sites, and apply their formulas at one module of the base."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from adaptkit.methods.base import Method
from adaptkit.methods.key_values import KeyValues
from adaptkit.models.sites import Site


@dataclass(frozen=True)
class Attachment:
    """One method at one site.

    `index`: the method's position in its union; it keeps parameter names distinct.
    """

    method: Method
    site: Site
    index: int = 0

    def weight_name(self, name: str) -> str:
        """The parameter's name inside the layer: `0_attn_q_A`."""
        return f"{self.index}_{self.site.key}_{name}"

    @cached_property
    def weight_names(self) -> dict[str, str]:
        """The method's parameter names -> their names inside the layer; read in every forward."""
        return {name: self.weight_name(name) for name in self.method.spec(self.site)}


# The parameters of one adapter at one attachment, by name, in the requested dtype.
Weights = Callable[[torch.dtype], dict[str, Tensor]]

Attached = Iterable[tuple[Attachment, Weights]]


def transform(
    base: nn.Module, attached: Attached, x: Tensor, y: Tensor, stream: Tensor | None, training: bool
) -> Tensor:
    """Apply formulas in order at the module `base`.

    x `(..., in)`: its input. y `(..., out)`: its output. `stream`: the residual stream as it
    entered the block, for block and stream sites. Returns `(..., out)`.
    """
    moved = False  # a method has changed what the norm gave
    for attachment, weights in attached:
        kind = attachment.site.kind
        if kind == "map":
            y = _at_part(attachment, weights, x, y, training)
        elif kind == "norm" and attachment.method.reads_output:
            y, moved = change(attachment, weights, y, y, training), True
        elif kind == "norm":
            added = y - base(x) if moved else None
            x = change(attachment, weights, y, x, training)
            y = base(x) if added is None else base(x) + added
        else:
            y = change(
                attachment,
                weights,
                _entering(stream) if kind == "block" else _entering(stream) + y,
                y,
                training,
            )
    return y


def _entering(stream: Tensor | None) -> Tensor:
    assert stream is not None, "the module that the residual stream enters did not run"
    return stream


def join_key_values(attached: Attached, x: Tensor, y: KeyValues, training: bool) -> KeyValues:
    """Keys and values with the formulas' columns in front; x: the hidden states of the queries."""
    for attachment, weights in attached:
        y = change(attachment, weights, x, y, training)
    return KeyValues(y.keys.to(y.values.dtype), y.values, y.scores)


def change(attachment: Attachment, weights: Weights, x: Tensor, y, training: bool):
    """Apply one formula in the dtype of x; the result has the dtype of y."""
    changed = attachment.method.apply(weights(x.dtype), x, y, training=training)
    return changed if isinstance(y, KeyValues) else changed.to(y.dtype)


def _at_part(
    attachment: Attachment, weights: Weights, x: Tensor, y: Tensor, training: bool
) -> Tensor:
    part = attachment.site.part
    own = y if part is None else y[..., slice(*part)]
    changed = change(
        attachment, weights, own if attachment.method.reads_output else x, own, training
    )
    if part is None:
        return changed
    return torch.cat([y[..., : part[0]], changed, y[..., part[1] :]], -1)
