"""Prefix tuning: learned keys and values (Li and Liang 2021, https://arxiv.org/abs/2101.00190).

    attend(q, [P_k; k], [P_v; v])        P_k, P_v: (length, key-value width), in every attention

Positions do not shift and the cache holds no prefix: the columns are added when attention is
computed (`adaptkit.adapters.attention`). The prefix is a plain parameter by default. With `mlp`, a
small network computes it, P = W2 tanh(W1 e + b1) + b2, one network per site (the paper shares one
across layers), which makes training on some tasks more stable. With `gate`, sigmoid(g x) of each
query token multiplies the attention it pays to the prefix before normalisation. UniPELT scales the
prefix itself by one gate per sentence; a gate per token does not change with padding or a cache. A
fresh prefix is not the identity: softmax gives it some weight.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from adaptkit.methods.base import Method, Param, require, rows
from adaptkit.methods.key_values import KeyValues
from adaptkit.methods.registry import register
from adaptkit.models.sites import Site


@register
@dataclass(frozen=True)
class Prefix(Method):
    """Learned keys and values in front of every attention.

    Settings: `length` in positions; `mlp` hidden width of the network that computes the prefix (0:
    none); `dropout` on the prefix; `gate`; `sites` `attn` and `cross`; `std` of the initial values.
    """

    name = "prefix"
    kinds = ("attention",)
    default_sites = ("attn", "cross")
    identity_at_start = False
    learning_rate = 1e-2

    length: int = 30
    mlp: int = 0
    dropout: float = 0.0
    gate: bool = False
    std: float = 0.02

    def __post_init__(self):
        super().__post_init__()
        require(self.length >= 1, self, f"length is 1 position or more; it got {self.length}.")
        require(self.mlp >= 0, self, f"mlp is a width, or 0 for a flat prefix; it got {self.mlp}.")
        require(self.std >= 0, self, f"std is 0 or more; it got {self.std}.")
        require(0 <= self.dropout < 1, self, f"dropout is in [0, 1); it got {self.dropout}.")

    def spec(self, site: Site) -> dict[str, Param]:
        width = site.width_out
        if self.mlp:
            spec = {
                "embed": Param((self.length, width), "normal", 1.0),
                "inner": Param((self.mlp, width), "kaiming"),
                "inner_bias": Param((self.mlp,)),
                "outer": Param((2 * width, self.mlp), "kaiming"),
                "outer_bias": Param((2 * width,)),
            }
        else:
            spec = {"keys": Param((self.length, width), "normal", self.std)}
            spec["values"] = Param((self.length, width), "normal", self.std)
        return spec | ({"gate": Param((1, site.width_in), "normal")} if self.gate else {})

    def columns(self, p: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The learned keys and values, each `(length, width)`.

        From batched parameters they are `(batch, length, width)`.
        """
        if not self.mlp:
            return p["keys"], p["values"]
        inner = torch.tanh(p["embed"] @ p["inner"].mT + rows(p["inner_bias"]))
        keys, values = (inner @ p["outer"].mT + rows(p["outer_bias"])).chunk(2, dim=-1)
        return keys, values

    def served(self) -> Prefix:
        """A plain prefix; the network that computes it is only needed in training."""
        return dataclasses.replace(self, mlp=0, dropout=0.0, std=Prefix.std)

    def to_served(self, p):
        keys, values = self.columns(p)
        return {"keys": keys, "values": values} | ({"gate": p["gate"]} if self.gate else {})

    def apply(self, p, x, y, *, training=False):
        batch, heads, _, head_width = y.keys.shape

        def in_heads(columns: Tensor) -> Tensor:
            columns = F.dropout(columns, self.dropout) if self.dropout and training else columns
            return (
                columns.unflatten(-1, (heads, head_width))
                .transpose(-3, -2)
                .expand(batch, -1, -1, -1)
            )

        keys, values = map(in_heads, self.columns(p))
        scores = y.scores
        if self.gate:
            gates = F.logsigmoid(x @ p["gate"].mT).unsqueeze(1)  # (batch, 1, queries, 1)
            scores = _in_front(gates.expand(-1, -1, -1, self.length), scores)
        elif scores is not None:
            scores = _in_front(scores.new_zeros(*scores.shape[:3], self.length), scores)
        return KeyValues(torch.cat([keys, y.keys], -2), torch.cat([values, y.values], -2), scores)


def _in_front(new: Tensor, old: Tensor | None) -> Tensor:
    return new if old is None else torch.cat([new, old], -1)
