"""Weighted k-means, with centres that may stay where they are."""

from __future__ import annotations

import torch
from torch import Tensor

TRIES = 6  # candidates for each first centre
STEPS = 30  # of Lloyd's algorithm, which ends earlier where nothing moves


def weighted_kmeans(
    points: Tensor, weights: Tensor, count: int, draw: torch.Generator, fixed: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Centres `(count, width)` with the smallest weighted sum of squared distances, nearly.

    The first centres are those of greedy k-means++ (Arthur and Vassilvitskii 2007), the others
    come from Lloyd's algorithm.

    Args:
        points: `(rows, width)`.
        weights: `(rows,)`, none below 0.
        draw: on the points' device.
        fixed: `(centres, width)`: further centres, which do not move and take what is near.

    Returns:
        The centres, and the weight that each takes `(count,)`.
    """
    taken = _nearest(points, fixed)
    centres = _first_centres(points, weights, count, draw, taken)
    for _ in range(STEPS):
        near, own = _squares(points, centres).min(1)
        shares = torch.where(near <= taken, weights, torch.zeros_like(weights))
        masses = torch.zeros(count).index_add_(0, own, shares)
        sums = torch.zeros_like(centres).index_add_(0, own, shares[:, None] * points)
        moved = torch.where(masses[:, None] > 0, sums / masses[:, None].clamp(min=1e-12), centres)
        still = torch.allclose(moved, centres, atol=1e-5)
        centres = moved
        if still:
            break
    return centres, masses


def _first_centres(
    points: Tensor, weights: Tensor, count: int, draw: torch.Generator, taken: Tensor
) -> Tensor:
    """Points far from each other and from what is taken, by weight."""
    near = taken.clone()
    chosen: list[int] = []
    for _ in range(count):
        chances = weights * near.nan_to_num(posinf=1.0)
        chances = chances if chances.sum() > 0 else weights + 1e-12
        tries = torch.multinomial(chances, TRIES, replacement=True, generator=draw)
        left = torch.minimum(near[:, None], _squares(points, points[tries]))
        best = int((weights[:, None] * left).sum(0).argmin())
        chosen.append(int(tries[best]))
        near = left[:, best]
    return points[chosen]


def _nearest(points: Tensor, centres: Tensor | None) -> Tensor:
    """The squared distance `(rows,)` to the nearest centre; infinite if there is none."""
    if centres is None or not len(centres):
        return torch.full((len(points),), torch.inf)
    return _squares(points, centres).min(1).values


def _squares(points: Tensor, centres: Tensor) -> Tensor:
    """Squared distances `(rows, centres)`."""
    lengths = points.square().sum(1)[:, None] + centres.square().sum(1)
    return (lengths - 2 * points @ centres.T).clamp(min=0)
