"""BitFit: learned biases (Ben Zaken et al. 2022, https://arxiv.org/abs/2106.10199).

    y' = y + b        b: (out,), starting at zero

at the linear maps, whether the base has a bias there or not; where it has one, b is what training
would add to it. The paper trains the biases of norms, too; those before a map are among the biases
of that map. Keys are left out by default: what is added to every key adds the same to all scores of
a query, and softmax takes it out. With rotary positions it does count; `sites=attn.*|ffn.*` takes
them in, and `cross.*` with them where there is a cross-attention.
"""

from __future__ import annotations

from dataclasses import dataclass

from adaptkit.methods.base import Method, Param, rows
from adaptkit.methods.registry import register
from adaptkit.models.sites import LINEAR_SITES, Site


@register
@dataclass(frozen=True)
class Bias(Method):
    """Learned biases of linear maps. Settings: `sites` (default: every map but those to keys)."""

    name = "bias"
    default_sites = tuple(site for site in LINEAR_SITES if not site.endswith(".k"))
    affine = True
    learning_rate = 3e-3

    def spec(self, site: Site) -> dict[str, Param]:
        return {"b": Param((site.width_out,))}

    def apply(self, p, x, y, *, training=False):
        return y + rows(p["b"])
