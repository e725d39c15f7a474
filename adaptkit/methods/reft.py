"""LoReFT: learned changes of hidden states in a subspace (Wu et al. 2024, arXiv:2404.03592).

    h' = h + R^T (W h + b - R h)        R: (r, width) with orthonormal rows, W: (r, width), b: (r,)

at the residual stream leaving each layer, behind its norm in post-norm models; or, with `sites`, at
the output of linear maps. In the directions of the rows of R, h becomes W h + b; in all others it
stays as it is.

Two parameters stand for R and W. `R` is free, and its rows are made orthonormal in every pass (by
QR, with the signs that keep orthonormal rows as they are), so they are at every step of training
and after loading. `V` is W - R and starts at zero, so a fresh adapter changes nothing, and weight
decay pulls towards that. With `orthonormal=false` the rows stay free: h + R^T (V h + b), the
paper's DiReFT.

The paper changes chosen positions of a prompt, such as the first and the last ones, and reads
every position that follows through attention. Here all positions are changed alike, so padding and
a cache change nothing.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor

from adaptkit.methods.base import Method, Param, add_map, check_rank, require, rows
from adaptkit.methods.registry import register
from adaptkit.models.sites import Site


@register
@dataclass(frozen=True)
class ReFT(Method):
    """Learned changes of the residual stream in a subspace.

    Settings: `r` rank, at most the width of h; `orthonormal` rows (LoReFT) or not (DiReFT);
    `sites` (default: the end of every layer).
    """

    name = "reft"
    kinds = ("stream", "norm", "map")
    default_sites = ("layer",)
    needs = ("layer",)
    reads_output = True
    learning_rate = 3e-3

    r: int = 4
    orthonormal: bool = True

    def __post_init__(self):
        super().__post_init__()
        require(self.r >= 1, self, f"r is a rank, 1 or more; it got {self.r}.")

    def place(self, available: list[Site]) -> list[Site]:
        chosen = super().place(available)
        check_rank(self, self.r, {site.name: site.width_out for site in chosen})
        return chosen

    def spec(self, site: Site) -> dict[str, Param]:
        return {
            "R": Param((self.r, site.width_out), "orthogonal"),
            "V": Param((self.r, site.width_out)),
            "b": Param((self.r,)),
        }

    def served(self) -> ReFT:
        """The rows are made orthonormal once."""
        return dataclasses.replace(self, orthonormal=False)

    def to_served(self, p):
        return p | {"R": orthonormal_rows(p["R"])} if self.orthonormal else p

    def apply(self, p, x, y, *, training=False):
        inner = x @ p["V"].mT + rows(p["b"])  # (batch, seq, r)
        directions = orthonormal_rows(p["R"]) if self.orthonormal else p["R"]
        return add_map(y, inner, directions.mT)


def orthonormal_rows(weight: Tensor) -> Tensor:
    """Orthonormal rows `(..., r, width)` that span those of `weight`, each from the ones above it.

    Orthonormal rows stay as they are. Computed in fp32 at least.
    """
    exact = weight.to(torch.promote_types(weight.dtype, torch.float32))
    columns, triangle = torch.linalg.qr(exact.mT)
    signs = torch.where(triangle.diagonal(dim1=-2, dim2=-1) < 0, -1.0, 1.0)
    return (columns * signs.unsqueeze(-2)).mT.to(weight.dtype)
