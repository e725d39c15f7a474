"""Bottleneck adapters: a small two-layer network with a residual connection.

    f(z) = s (U act(D z + b) + c)        D: (m, width), U: (width, m), m = width / reduction

    placement   source                                           where, and what z is
    houlsby     Houlsby et al. 2019, arxiv.org/abs/1902.00751    y + f(y) at the output maps of
                                                                 attention and feed-forward block
    pfeiffer    Pfeiffer et al. 2020, arxiv.org/abs/2005.00247   u + f(LN(u)) then LN, u the stream
                                                                 leaving the block, LN its own
                                                                 norm; u + f(u) in pre-norm models
    parallel    He et al. 2021, arxiv.org/abs/2110.04366         y + f(x) at the feed-forward
                                                                 block, x the stream entering it

U starts at zero, so a fresh adapter changes nothing. The defaults of reduction, activation and
scale are those of the adapters library (its `double_seq_bn`, `seq_bn` and `par_bn`). `gate`
multiplies f by sigmoid(g z), one gate per token; see `lora`.
"""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from adaptkit.errors import unknown
from adaptkit.methods.base import LARGEST_FACTOR, Method, Param, add_map, require, rows
from adaptkit.methods.registry import register
from adaptkit.models.sites import Site
from adaptkit.utils.json_types import shortened

PLACEMENTS: dict[str, dict[str, Any]] = {
    "houlsby": {
        "sites": ("attn.out", "ffn.out"),
        "reduction": 16,
        "activation": "silu",
        "scale": 1.0,
    },
    "pfeiffer": {"sites": ("layer",), "reduction": 16, "activation": "relu", "scale": 1.0},
    "parallel": {"sites": ("ffn",), "reduction": 2, "activation": "relu", "scale": 4.0},
}


@functools.cache
def activation(name: str):
    """The activation function that transformers knows by this name."""
    from transformers.activations import ACT2FN

    return ACT2FN[name]  # creates a module on each access


def _is_factor(text: str) -> bool:
    try:
        return abs(float(text)) <= LARGEST_FACTOR
    except ValueError:
        return False


LEAST_REDUCTION = 1 / 16


@register
@dataclass(frozen=True)
class Bottleneck(Method):
    """Small networks inside each layer.

    Settings: `placement` houlsby, pfeiffer or parallel; `reduction` of the width; `activation`, a
    name that transformers knows; `scale` a number, or `learned` (initialized to 1); `dropout` on
    the input; `gate`.
    """

    name = "bottleneck"
    kinds = ("map", "block", "stream", "norm")

    placement: str = "houlsby"
    reduction: float | None = None
    activation: str | None = None
    scale: str | None = None
    dropout: float = 0.0
    gate: bool = False

    def __post_init__(self):
        super().__post_init__()
        from transformers.activations import ACT2FN

        if self.placement not in PLACEMENTS:
            raise unknown("placement of bottleneck", self.placement, PLACEMENTS)
        if self.activation is not None and self.activation not in ACT2FN:
            raise unknown("activation of bottleneck", self.activation, ACT2FN)
        require(
            self.setting("reduction") >= LEAST_REDUCTION,
            self,
            f"reduction is {LEAST_REDUCTION} or more (below 1 it widens); it got {self.reduction}.",
        )
        require(0 <= self.dropout < 1, self, f"dropout is in [0, 1); it got {self.dropout}.")
        if self.scale not in (None, "learned"):
            require(
                _is_factor(self.scale),
                self,
                f"scale is a number up to {LARGEST_FACTOR:,.0f} or 'learned'; it got "
                f"{shortened(self.scale)}.",
            )

    def setting(self, name: str):
        """A setting, or the default of the placement."""
        value = getattr(self, name)
        return PLACEMENTS[self.placement][name] if value is None else value

    @property
    def default_sites(self) -> tuple[str, ...]:
        return PLACEMENTS[self.placement]["sites"]

    @property
    def needs(self) -> tuple[str, ...]:
        return self.default_sites

    def spec(self, site: Site) -> dict[str, Param]:
        width = site.width_out
        inner = max(1, int(width // self.setting("reduction")))
        spec = {
            "down": Param((inner, width), "kaiming"),
            "down_bias": Param((inner,)),
            "up": Param((width, inner)),
            "up_bias": Param((width,)),
        }
        if self.scale == "learned":
            spec["scale"] = Param((1,), "ones")
        if self.gate:
            spec["gate"] = Param((1, width), "normal")
        return spec

    def served(self) -> Bottleneck:
        """The scale is folded into the upper map."""
        chosen = {name: self.setting(name) for name in ("reduction", "activation")}
        return dataclasses.replace(self, **chosen, scale="1.0", dropout=0.0)

    def to_served(self, p):
        scale = p["scale"] if self.scale == "learned" else float(self.setting("scale"))
        kept = {name: tensor for name, tensor in p.items() if name != "scale"}
        return {**kept, "up": p["up"] * scale, "up_bias": p["up_bias"] * scale}

    def apply(self, p, x, y, *, training=False):
        source = y if self.placement == "houlsby" else x
        z = F.dropout(source, self.dropout) if self.dropout and training else source
        activate = activation(self.setting("activation"))
        inner = activate(z @ p["down"].mT + rows(p["down_bias"]))  # (batch, seq, inner)
        bias = rows(p["up_bias"])
        scale = rows(p["scale"]) if self.scale == "learned" else float(self.setting("scale"))
        if isinstance(scale, Tensor) or scale != 1:  # at the inner width, not at the full width
            inner, bias = inner * scale, bias * scale
        if self.gate:
            return y + add_map(bias.expand_as(y), inner, p["up"]) * (z @ p["gate"].mT).sigmoid()
        return add_map(y + bias, inner, p["up"])
