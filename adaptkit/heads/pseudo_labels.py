"""Labels that all parts of a few labelled rows agree on, for rows that have none."""

from __future__ import annotations

import torch
from torch import Tensor

from adaptkit.heads.linear_probe import LinearProbe, Loss, fit_linear_probe, fit_parts

SURE = 0.8  # least probability of a pseudo-label


def agreed_labels(
    probe: LinearProbe, features: Tensor, targets: Tensor, unlabelled: Tensor, loss: Loss, seed: int
) -> tuple[Tensor, Tensor]:
    """Which unlabelled rows get a pseudo-label, and which (self-training, Lee 2013).

    A label counts if the probe gives it at least `SURE`, and each probe that leaves a part of the
    labelled rows out gives the same. A label gets no more rows than half of the labels do, the
    surest ones, so that a frequent one does not swallow the others.

    Args:
        probe: fitted on features `(rows, width)` and targets `(rows,)` with this loss and seed.
        unlabelled: features `(other rows, width)`.

    Returns:
        Their places, and a label for each.
    """
    shares, labels = probe(unlabelled).softmax(-1).max(-1)
    kept = shares >= SURE
    for part in fit_parts(probe, features, targets, loss, seed):
        kept &= part(unlabelled).argmax(-1) == labels
    counts = torch.bincount(labels[kept], minlength=len(probe.bias))
    if not counts.any():
        return counts[:0], labels[:0]
    most = int(counts[counts > 0].median())
    places = torch.cat(
        [
            of_label[shares[of_label].argsort(descending=True)[:most]]
            for label in range(len(counts))
            for of_label in [(kept & (labels == label)).nonzero()[:, 0]]
        ]
    )
    return places, labels[places]


def with_pseudo_labels(
    probe: LinearProbe, features: Tensor, targets: Tensor, unlabelled: Tensor, loss: Loss, seed: int
) -> tuple[LinearProbe, Tensor, Tensor]:
    """A probe of the labelled rows and of the unlabelled ones that get a pseudo-label.

    Args:
        probe: of the labelled rows alone; the arguments are those of `agreed_labels`.

    Returns:
        The probe, and the features and labels of its rows, labelled ones first.
    """
    places, labels = agreed_labels(probe, features, targets, unlabelled, loss, seed)
    if not len(places):
        return probe, features, targets
    features = torch.cat([features, unlabelled[places]])
    targets = torch.cat([targets, labels])
    return fit_linear_probe(features, targets, loss, len(probe.bias), seed), features, targets
