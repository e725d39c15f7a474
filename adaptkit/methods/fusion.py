"""AdapterFusion: an attention-weighted mixture of trained bottleneck adapters.

Pfeiffer et al. 2021, arXiv:2005.00247.

    f_i(x) = U_i act(D_i x + b_i) + c_i          the frozen adapters; x the stream leaving the
                                                 block, after the norm in post-norm models
    s_i    = (Q x + q) . K f_i(x)                one score per adapter and token
    y'     = y + V sum_i softmax(s)_i f_i(x)     Q, K, V: (width, width); V starts as the identity

K's bias adds the same to every score and is left out. Q x is multiplied with K first, so no
adapter's output passes a full-width map. The authors' code also pulls V towards the identity with
a term in the loss; here V is free.
"""

from __future__ import annotations

from dataclasses import dataclass

from adaptkit.errors import unknown
from adaptkit.methods.base import Method, Param, require, rows
from adaptkit.methods.bottleneck import activation
from adaptkit.methods.registry import register
from adaptkit.models.sites import Site


@register
@dataclass(frozen=True)
class Fusion(Method):
    """A learned mixture of frozen pfeiffer bottleneck adapters; `adaptkit.adapters.fuse` fills it.

    Settings: `adapters`, how many; `reduction` and `activation`, as in those adapters.
    """

    name = "fusion"
    kinds = ("stream", "norm")
    default_sites = ("layer",)

    adapters: int = 2
    reduction: float = 16
    activation: str = "relu"

    def __post_init__(self):
        super().__post_init__()
        from transformers.activations import ACT2FN

        require(
            self.adapters >= 1,
            self,
            f"adapters is a number of adapters, 1 or more; it got {self.adapters}.",
        )
        require(self.reduction >= 1, self, f"reduction is 1 or more; it got {self.reduction}.")
        if self.activation not in ACT2FN:
            raise unknown("activation of fusion", self.activation, ACT2FN)

    def spec(self, site: Site) -> dict[str, Param]:
        width, count = site.width_out, self.adapters
        inner = max(1, int(width // self.reduction))
        return {
            "down": Param((count, inner, width), "normal", frozen=True),
            "down_bias": Param((count, inner), frozen=True),
            "up": Param((count, width, inner), frozen=True),
            "up_bias": Param((count, width), frozen=True),
            "query": Param((width, width), "normal"),
            "query_bias": Param((width,)),
            "key": Param((width, width), "normal"),
            "value": Param((width, width), "identity"),
        }

    def apply(self, p, x, y, *, training=False):
        inner = activation(self.activation)(
            x.unsqueeze(-3) @ p["down"].mT + p["down_bias"].unsqueeze(-2)
        )
        outputs = inner @ p["up"].mT + p["up_bias"].unsqueeze(-2)  # (batch, adapters, seq, width)
        asked = (x @ p["query"].mT + rows(p["query_bias"])) @ p["key"]  # (batch, seq, width)
        shares = (asked.unsqueeze(-3) * outputs).sum(-1).softmax(-2)  # (batch, adapters, seq)
        return y + (shares.unsqueeze(-1) * outputs).sum(-3) @ p["value"].mT
