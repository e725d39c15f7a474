"""MiSS: one small matrix, shared by the blocks of the input (Kang and Yin, arXiv:2409.15371).

    y' = y + s(x) D        D: (r, out), starting at zero
                           s(x): (r,), the sum of the blocks of x, each r numbers long

Block k holds the numbers k r to k r + r - 1 of x; the last one is filled up with zeros. It is LoRA
with A = [I I ... I], neither stored nor multiplied, so a layer keeps r (and not in) numbers of
each token for its backward pass. As in PEFT, there is no scale; the forms `bat` and `mini` are left
out.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from adaptkit.methods.base import Method, Param, add_map, check_rank, require
from adaptkit.methods.registry import register
from adaptkit.models.sites import LINEAR_SITES, Site


@register
@dataclass(frozen=True)
class MiSS(Method):
    """Updates of linear maps by sums of the input's blocks.

    Settings: `r` rank, the width of a block, at most that of the input; `dropout` on the input;
    `sites` (default: every linear map).
    """

    name = "miss"
    default_sites = LINEAR_SITES
    affine = True
    learning_rate = 1e-4  # at r = 64, a step of D moves y some ten times as far as one of LoRA's B

    r: int = 64
    dropout: float = 0.0

    def __post_init__(self):
        super().__post_init__()
        require(self.r >= 1, self, f"r is a rank, 1 or more; it got {self.r}.")
        require(0 <= self.dropout < 1, self, f"dropout is in [0, 1); it got {self.dropout}.")

    def place(self, available: list[Site]) -> list[Site]:
        chosen = super().place(available)
        check_rank(self, self.r, {site.name: site.width_in for site in chosen})
        return chosen

    def spec(self, site: Site) -> dict[str, Param]:
        return {"D": Param((self.r, site.width_out))}

    def served(self) -> MiSS:
        return dataclasses.replace(self, dropout=0.0)

    def factors(self, p: dict[str, Tensor], site: Site) -> tuple[Tensor, Tensor]:
        blocks = torch.arange(site.width_in, device=p["D"].device) % self.r
        return F.one_hot(blocks, self.r).mT.to(p["D"].dtype), p["D"].mT

    def apply(self, p, x, y, *, training=False):
        if self.dropout and training:
            x = F.dropout(x, self.dropout)
        if left := x.shape[-1] % self.r:
            x = F.pad(x, (0, self.r - left))
        return add_map(y, x.unflatten(-1, (-1, self.r)).sum(-2), p["D"].mT)
