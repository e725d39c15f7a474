"""The singular value decomposition of a product of two factors, without computing the product.

    B A = (Qb Rb) (Qa Ra)^T = Qb (Rb Ra^T) Qa^T        B: (out, r), A: (r, in)

After a QR of each factor, only the small matrix in the middle, r x r, is decomposed. Cut off behind
the first k singular values, it is the best approximation of rank k (Eckart and Young 1936).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Decomposed:
    """`left @ diag(values) @ right` in fp64: `(out, n)`, `(n,)` from the largest on, `(n, in)`."""

    left: Tensor
    values: Tensor
    right: Tensor

    def kept(self, rank: int) -> float:
        """The share of the squares that this many singular values hold, 1 or more; 1 of zeros."""
        sums = self.values.square().cumsum(0)
        return float(sums[:rank][-1] / sums[-1]) if sums[-1] else 1.0

    def rank_for(self, share: float) -> int:
        """The smallest rank that keeps this share; 0 of zeros."""
        sums = self.values.square().cumsum(0)
        return int((sums < share * sums[-1]).sum()) + 1 if sums[-1] else 0

    def factors(self, rank: int) -> tuple[Tensor, Tensor]:
        """A `(rank, in)` and B `(out, rank)` in fp32, filled up with zeros.

        Each has the root of the singular values.
        """
        roots = self.values[:rank].sqrt()
        missing = max(0, rank - len(self.values))
        a = F.pad(roots[:, None] * self.right[:rank], (0, 0, 0, missing))
        b = F.pad(self.left[:, :rank] * roots, (0, missing))
        return a.float(), b.float()


@torch.no_grad()
def decompose(a: Tensor, b: Tensor) -> Decomposed:
    """The decomposition of `b @ a`; a is `(r, in)`, b `(out, r)`."""
    left, upper = torch.linalg.qr(b.double())
    right, lower = torch.linalg.qr(a.double().mT)
    u, values, v = torch.linalg.svd(upper @ lower.mT, full_matrices=False)
    return Decomposed(left @ u, values, v @ right.mT)
