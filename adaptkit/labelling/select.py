"""The rows to label next, from features and probabilities alone.

Without a classifier: typical rows that differ from each other and from what is labelled. With one:
rows that it is unsure of, and that differ from each other. At few labels what is typical teaches
most, and later what is uncertain (Hacohen et al. 2022, arXiv:2202.02794); to go from the one to the
other, as in Doucet et al. 2024 (arXiv:2403.03728). Both are one weighted k-means, whose rows
nearest to the centres are chosen (Zhdanov 2019, arXiv:1901.05954):

    cold    all rows, of equal weight; labelled rows are centres that stay
    warm    the `WIDER` times `count` rows with the smallest margins; weight: 1 - margin

The margin of a row is its highest probability less its second highest.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from adaptkit.labelling.kmeans import weighted_kmeans

WIDER = 20
LEAST = 1e-6  # weight of a row that a classifier is sure of


def select_rows(
    features: Tensor,
    count: int,
    labelled: Sequence[int] = (),
    probabilities: Tensor | None = None,
    seed: int = 0,
) -> list[int]:
    """The numbers of the rows to label next, the one that stands for most others first.

    Args:
        features: `(rows, width)`; distances are those of their directions.
        count: how many rows; fewer if fewer are left.
        labelled: the rows that have a label.
        probabilities: `(rows, labels)` of a classifier, two labels or more; None: there is none.
        seed: of the first centres.
    """
    done = torch.zeros(len(features), dtype=torch.bool)
    done[list(labelled)] = True
    left = (~done).nonzero()[:, 0]
    if not count or not len(left):
        return []
    points = torch.nn.functional.normalize(features.float(), dim=1)
    fixed, weights = points[done], torch.ones(len(left))
    if probabilities is not None:
        fixed, weights = points[:0], 1 - margins(probabilities[left].float()) + LEAST
        unsure = weights.argsort(descending=True, stable=True)[: WIDER * count]
        left, weights = left[unsure], weights[unsure]
    draw = torch.Generator().manual_seed(seed)
    centres, masses = weighted_kmeans(points[left], weights, min(count, len(left)), draw, fixed)
    order = masses.argsort(descending=True, stable=True)
    return left[_nearest_each(points[left], centres[order])].tolist()


def margins(probabilities: Tensor) -> Tensor:
    """How sure a classifier is `(rows,)`: the highest probability less the second highest."""
    first, second = probabilities.topk(2, dim=1).values.unbind(1)
    return first - second


def _nearest_each(points: Tensor, centres: Tensor) -> Tensor:
    """For each centre in turn the nearest point that is not taken yet."""
    distances = torch.cdist(centres, points)
    chosen = []
    for row in distances:
        chosen.append(int(row.argmin()))
        distances[:, chosen[-1]] = torch.inf
    return torch.tensor(chosen)
