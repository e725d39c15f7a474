"""VeRA: scaled random projections (Kopiczko et al. 2023, https://arxiv.org/abs/2310.11454).

    y' = y + b * (B (d * (A x)))        A: (r, in), B: (out, r), drawn once and never trained
                                        d: (r,), starting at 0.1; b: (out,), starting at zero

A and B are no part of an adapter. They follow from `seed`, `r` and the widths of a map, so all maps
of one shape share them, in one model and in all adapters that a host serves, and a file holds d and
b alone. They are uniform with the bound of Kaiming (sqrt(6 / fan in)), as in PEFT, which draws one
pair for all shapes. The draws are those of torch's generator on the CPU, in whole steps of 2^-24
and with one rounding, so they are the same numbers on every machine and device.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from adaptkit.methods.base import Method, Param, require, rows
from adaptkit.methods.registry import register
from adaptkit.models.sites import LINEAR_SITES, Site

LARGEST_RANK = 4096  # a file of r numbers asks for r times the widths of memory
MOST_KEPT = 64  # pairs of projections in memory, one for each shape, seed, dtype and device


@register
@dataclass(frozen=True)
class VeRA(Method):
    """Two learned vectors around frozen random projections.

    Settings: `r` rank; `seed` of the projections; `start` of d; `dropout` on the input; `sites`
    (default: every linear map).
    """

    name = "vera"
    default_sites = LINEAR_SITES
    affine = True
    learning_rate = 1e-2

    r: int = 256
    seed: int = 0
    start: float = 0.1
    dropout: float = 0.0

    def __post_init__(self):
        super().__post_init__()
        require(
            1 <= self.r <= LARGEST_RANK,
            self,
            f"r is a rank, 1 or more and up to {LARGEST_RANK:,}; it got {self.r}.",
        )
        require(self.seed >= 0, self, f"seed is 0 or more; it got {self.seed}.")
        require(self.start != 0, self, "start is not 0: nothing would train.")
        require(0 <= self.dropout < 1, self, f"dropout is in [0, 1); it got {self.dropout}.")

    def spec(self, site: Site) -> dict[str, Param]:
        return {
            "d": Param((self.r,), "constant", value=self.start),
            "b": Param((site.width_out,)),
        }

    def served(self) -> VeRA:
        return dataclasses.replace(self, start=VeRA.start, dropout=0.0)

    def factors(self, p: dict[str, Tensor], site: Site) -> tuple[Tensor, Tensor]:
        d, b = p["d"].unsqueeze(-1), p["b"].unsqueeze(-1)
        drawn = projections(self.seed, self.r, site.width_in, site.width_out, b.dtype, b.device)
        return d * drawn[0], b * drawn[1]

    def apply(self, p, x, y, *, training=False):
        if self.dropout and training:
            x = F.dropout(x, self.dropout)
        widths = x.shape[-1], y.shape[-1]
        down, up = projections(self.seed, self.r, *widths, x.dtype, x.device)
        return y + (x @ down.mT * rows(p["d"])) @ up.mT * rows(p["b"])


@functools.lru_cache(maxsize=MOST_KEPT)
@torch.no_grad()
def projections(
    seed: int, r: int, width_in: int, width_out: int, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor]:
    """The A `(r, width_in)` and B `(width_out, r)` of maps of one shape."""
    generator = torch.Generator().manual_seed(seed)
    with torch.inference_mode(False):
        drawn = [_uniform(shape, generator) for shape in ((r, width_in), (width_out, r))]
        return drawn[0].to(device, dtype), drawn[1].to(device, dtype)


def _uniform(shape: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Uniform in plus and minus sqrt(6 / fan in); only the product with it is rounded."""
    whole = 2 * torch.rand(shape, generator=generator, dtype=torch.float32, device="cpu") - 1
    return whole * math.sqrt(6 / shape[1])
