"""(IA)3: rescaled activations (Liu et al. 2022, https://arxiv.org/abs/2205.05638).

    y' = l * y        l: (out,), starting at one

at the keys, the values and the feed-forward block's inner map before its activation; the bias is
scaled too. In gated feed-forward blocks the ungated branch is scaled, which equals the paper's
place after the activation.
"""

from __future__ import annotations

from dataclasses import dataclass

from adaptkit.methods.base import Method, Param, rows
from adaptkit.methods.registry import register
from adaptkit.models.sites import Site


@register
@dataclass(frozen=True)
class IA3(Method):
    """Learned scales of keys, values and inner feed-forward activations. Settings: `sites`."""

    name = "ia3"
    default_sites = ("attn.k", "attn.v", "cross.k", "cross.v", "ffn.in")
    needs = ("attn.k", "attn.v", "ffn.in")
    affine = True

    def spec(self, site: Site) -> dict[str, Param]:
        return {"scale": Param((site.width_out,), "ones")}

    def apply(self, p, x, y, *, training=False):
        return y * rows(p["scale"])
