"""LoRA: low-rank adaptation of linear maps (Hu et al. 2021, https://arxiv.org/abs/2106.09685).

    y' = y + s B A x        A: (r, in), B: (out, r)
                            s = alpha / r, or alpha / sqrt(r) with rslora (Kalajdzievski 2023)

A starts kaiming-uniform and B at zero, as in PEFT. The scale is part of the product with B, so no
full-width tensor is written for it. With `gate`, the update of each token is multiplied by
sigmoid(g x), g: (1, in), after UniPELT (Mao et al. 2021). UniPELT uses one gate per sentence; a
gate per token does not change when a batch is padded or when generation uses a cache.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

from torch.nn import functional as F

from adaptkit.methods.base import Method, Param, add_map, require
from adaptkit.methods.registry import register
from adaptkit.models.sites import LINEAR_SITES, Site

LARGEST_RANK = 65_536  # no map is wider


@register
@dataclass(frozen=True)
class LoRA(Method):
    """Low-rank updates of linear maps.

    Settings: `r` rank; `alpha` scale (default 2 r; with `rslora` 8 at every rank); `dropout` on the
    input; `rslora` for alpha / sqrt(r); `gate` for a learned gate; `sites` (default: every linear
    map).
    """

    name = "lora"
    default_sites = LINEAR_SITES
    learning_rate = 1e-3

    r: int = 8
    alpha: float | None = None
    dropout: float = 0.0
    rslora: bool = False
    gate: bool = False

    def __post_init__(self):
        super().__post_init__()
        require(
            1 <= self.r <= LARGEST_RANK,
            self,
            f"r is a rank, 1 or more and up to {LARGEST_RANK:,}; it got {self.r}.",
        )
        require(0 <= self.dropout < 1, self, f"dropout is in [0, 1); it got {self.dropout}.")

    @property
    def affine(self) -> bool:
        return not self.gate

    @property
    def scale(self) -> float:
        """The factor on B A x."""
        return self._alpha() / self.grow(self.r)

    def grow(self, rank: int) -> float:
        """What alpha is divided by at a rank."""
        return math.sqrt(rank) if self.rslora else float(rank)

    def describe(self, full: bool = False) -> str:
        """Always includes alpha, so that stored adapters do not depend on a default."""
        return Method.describe(
            dataclasses.replace(self, alpha=self._alpha()) if full else self, full
        )

    def _alpha(self) -> float:
        return self.alpha if self.alpha is not None else 8.0 if self.rslora else 2.0 * self.r

    def spec(self, site: Site) -> dict[str, Param]:
        spec = {
            "A": Param((self.r, site.width_in), "kaiming"),
            "B": Param((site.width_out, self.r)),
        }
        return spec | ({"gate": Param((1, site.width_in), "normal")} if self.gate else {})

    def served(self) -> LoRA:
        """The rank is rounded up to a power of two, and the scale is folded into B."""
        rank = max(4, 1 << (self.r - 1).bit_length())
        return dataclasses.replace(self, r=rank, alpha=float(rank), dropout=0.0, rslora=False)

    def to_served(self, p):
        b, more = p["B"] * self.scale, self.served().r - self.r
        return (
            {**p, "B": b}
            if not more
            else {**p, "A": F.pad(p["A"], (0, 0, 0, more)), "B": F.pad(b, (0, more))}
        )

    def low_rank(self) -> tuple[str, str] | None:
        return None if self.gate or self.dropout or self.scale != 1 else ("A", "B")

    def apply(self, p, x, y, *, training=False):
        if self.dropout and training:
            x = F.dropout(x, self.dropout)
        low = x @ p["A"].mT  # (batch, seq, r)
        if self.gate:
            low = low * (x @ p["gate"].mT).sigmoid()
        return add_map(y, low, p["B"], self.scale)
