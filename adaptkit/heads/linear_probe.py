"""Regularised linear maps from frozen features to labels: what a task's head can know at once.

The objective is that of a logistic or ridge regression, mean loss + strength / 2 |W|^2, over
features that are centred and divided by their spread; bias and scale are folded back into the map.
L-BFGS minimises it (Liu and Nocedal 1989, as in torch), along a path from strong to weak.

Strength and sharpness are chosen together, by the loss of rows left out. A strong regularisation
orders the labels of few rows best, but its scores lie close together, so by their plain loss a
weaker one would be chosen. All weights are therefore multiplied by one number, as temperature
scaling does (Guo et al. 2017, arXiv:1706.04599).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

STRENGTHS = tuple(10.0**exponent for exponent in range(2, -5, -1))  # 100 to 1e-4
SHARPNESS = tuple(2 ** (exponent / 2) for exponent in range(-2, 17))  # 1/2 to 256
FOLDS = 4
ONE_FOLD = 4000  # rows from which on a single fold tells strengths apart
STEPS = 100  # of L-BFGS at the end
TOLERANCE = 1e-5  # of the gradient
PATH_STEPS = 25  # for each strength: each starts where the one before ended
PATH_TOLERANCE = 1e-3
HALVINGS = 20  # of the search for how sure a map may be
LEAST_SHARE = 0.05  # of its weights, however unsure: from nothing it would teach the base nothing
LEAST_SPREAD = 1e-3  # of the size of the features: below, it is rounding
LEAST = 1e-6  # of all weights and biases: a label may not occur in the rows


Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class LinearProbe:
    """A fitted map: scores are `features @ weight.T + bias`.

    weight: `(outputs, width)`. bias: `(outputs,)`. strength: of the regularisation, and sharpness,
    what the weights were multiplied by: as chosen. held_out: the mean loss of rows left out, with
    these.
    """

    weight: Tensor
    bias: Tensor
    strength: float
    sharpness: float
    held_out: float

    def __call__(self, features: Tensor) -> Tensor:
        """Scores `(rows, outputs)` of features `(rows, width)`."""
        return features.to(self.weight) @ self.weight.T + self.bias


def soften(probe: LinearProbe, features: Tensor, targets: Tensor, loss: Loss) -> LinearProbe:
    """The same map, less sure: its loss on the rows it was fitted on is that of rows left out.

    A map of few rows has no loss on them, and so nothing that could train what lies below it. Its
    weights are multiplied by one number around the centre of the features, found by bisection.

    Args:
        features, targets: those of `fit_linear_probe`.
    """
    centre = features.float().mean(0)

    def scaled(share: float) -> LinearProbe:
        weight = share * probe.weight
        bias = probe.bias + (probe.weight - weight) @ centre
        return dataclasses.replace(probe, weight=weight, bias=bias)

    low, high = LEAST_SHARE, 1.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        enough = float(loss(scaled(middle)(features), targets)) > probe.held_out
        low, high = (middle, high) if enough else (low, middle)
    return scaled(high)


def fit_linear_probe(
    features: Tensor, targets: Tensor, loss: Loss, outputs: int, seed: int = 0
) -> LinearProbe:
    """Fit a map from features `(rows, width)` to targets, with a cross-validated strength.

    Args:
        targets: `(rows, ...)`, as the loss takes them.
        loss: the mean loss of scores `(rows, outputs)`.
        outputs: the number of scores a row.
        seed: of the folds.
    """
    scaled, _, _ = _scaled(features)
    chosen = choose_strength(scaled, targets, loss, outputs, seed)
    return _fitted(features, targets, loss, chosen)


def _scaled(features: Tensor) -> tuple[Tensor, Tensor, float]:
    """Features around 0 and of spread 1; their centre, and their spread."""
    features = features.float()
    centre = features.mean(0)
    least = LEAST_SPREAD * float(features.square().mean().sqrt()) or 1.0
    spread = max(float((features - centre).std()), least)
    return (features - centre) / spread, centre, spread


def _fitted(features: Tensor, targets: Tensor, loss: Loss, chosen: Chosen) -> LinearProbe:
    """The probe with a chosen strength and sharpness."""
    scaled, centre, spread = _scaled(features)
    map_ = _fit(scaled, targets, loss, chosen.strength, chosen.near)
    weight = map_[:, :-1] * (chosen.sharpness / spread)
    bias = map_[:, -1] - weight @ centre
    return LinearProbe(weight, bias, chosen.strength, chosen.sharpness, chosen.held_out)


def fit_parts(
    probe: LinearProbe, features: Tensor, targets: Tensor, loss: Loss, seed: int
) -> Iterator[LinearProbe]:
    """Probes of the same strength and sharpness, each of which leaves a part of the rows out.

    Args:
        probe: fitted on these features and targets, with this loss and seed.
    """
    for fitted, _ in _folds(targets, seed):
        nothing = torch.zeros(len(probe.bias), features.shape[1] + 1, device=features.device)
        chosen = Chosen(probe.strength, probe.sharpness, probe.held_out, nothing)
        yield _fitted(features[fitted], targets[fitted], loss, chosen)


def fit_bias(targets: Tensor, loss: Loss, outputs: int) -> Tensor:
    """The scores `(outputs,)` that suit all targets best, whatever the features."""
    nothing = torch.zeros(len(targets), 0, device=targets.device)
    return _fit(nothing, targets, loss, 0.0, torch.zeros(outputs, 1, device=targets.device))[:, 0]


@dataclass(frozen=True)
class Chosen:
    """A strength and a sharpness, the mean loss of rows left out with them, and a map near."""

    strength: float
    sharpness: float
    held_out: float
    near: Tensor


def choose_strength(
    features: Tensor, targets: Tensor, loss: Loss, outputs: int, seed: int
) -> Chosen:
    """The strength and the sharpness with the smallest mean loss on rows left out."""
    are_numbers = targets.ndim == 1 and targets.is_floating_point()  # which are right or too far
    totals = torch.zeros(len(STRENGTHS), len(SHARPNESS))
    path = [torch.zeros(outputs, features.shape[1] + 1, device=features.device)] * len(STRENGTHS)
    folds = list(_folds(targets, seed))
    if not folds:
        return _without_rows_to_leave_out(features, targets, loss, outputs)
    for fitted, held in folds:
        map_ = path[0] * 0
        for index, strength in enumerate(STRENGTHS):
            map_ = _fit(
                features[fitted], targets[fitted], loss, strength, map_, PATH_STEPS, PATH_TOLERANCE
            )
            path[index] = map_
            scores, bias = features[held] @ map_[:, :-1].T, map_[:, -1]
            for place, sharpness in enumerate(SHARPNESS):
                if sharpness > 1 and are_numbers:
                    totals[index, place] = torch.inf
                    continue
                totals[index, place] += float(loss(sharpness * scores + bias, targets[held]))
            if totals[index].min() > 2 * totals[: index + 1].min():  # weaker ones only get worse
                totals[index + 1 :] = torch.inf
                break
    strength, sharpness = divmod(int(totals.argmin()), len(SHARPNESS))
    held_out = float(totals.min()) / len(folds)
    return Chosen(STRENGTHS[strength], SHARPNESS[sharpness], held_out, path[strength])


def _without_rows_to_leave_out(
    features: Tensor, targets: Tensor, loss: Loss, outputs: int
) -> Chosen:
    """What is taken where each label has one row: the order of the strongest regularisation.

    How sure it is cannot be measured: halfway from the frequencies of the labels to certainty.
    """
    nothing = torch.zeros(outputs, features.shape[1] + 1, device=features.device)
    bias = fit_bias(targets, loss, outputs)
    half = float(loss(bias.expand(len(targets), -1), targets)) / 2
    map_ = _fit(features, targets, loss, STRENGTHS[0], nothing)
    scores = features @ map_[:, :-1].T

    def distance(sharpness: float) -> float:
        return abs(float(loss(sharpness * scores + map_[:, -1], targets)) - half)

    return Chosen(STRENGTHS[0], min(SHARPNESS, key=distance), half, map_)


def _folds(targets: Tensor, seed: int) -> Iterator[tuple[Tensor, ...]]:
    """Rows to fit and rows held out; each label is spread over the folds.

    The only row of a label is never held out: nothing could be known of it.
    """
    draw = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(targets), generator=draw)
    only = torch.zeros(len(targets), dtype=torch.bool)
    if targets.ndim == 1 and not targets.is_floating_point():
        order = order[torch.argsort(targets.cpu()[order], stable=True)]
        _, place, counts = targets.cpu().unique(return_inverse=True, return_counts=True)
        only = counts[place] == 1
    fold = torch.empty(len(targets), dtype=torch.long)
    fold[order] = torch.arange(len(targets)) % FOLDS
    for number in range(1 if len(targets) >= ONE_FOLD else FOLDS):
        held = (fold == number) & ~only
        if held.any() and not held.all():
            yield tuple(rows.nonzero()[:, 0].to(targets.device) for rows in (~held, held))


def _scores(features: Tensor, map_: Tensor) -> Tensor:
    return torch.addmm(map_[:, -1], features, map_[:, :-1].T)


def _fit(
    features: Tensor,
    targets: Tensor,
    loss: Loss,
    strength: float,
    start: Tensor,
    steps: int = STEPS,
    tolerance: float = TOLERANCE,
) -> Tensor:
    """The map `(outputs, width + 1)`, bias last, that minimises the objective; `start` is near."""
    map_ = start.clone().requires_grad_()
    search = torch.optim.LBFGS(
        [map_],
        max_iter=steps,
        tolerance_grad=tolerance,
        tolerance_change=1e-7,
        line_search_fn="strong_wolfe",
    )

    def objective() -> Tensor:
        search.zero_grad()
        value = loss(_scores(features, map_), targets)
        value = value + strength / 2 * map_[:, :-1].square().sum() + LEAST * map_.square().sum()
        value.backward()
        return value

    with torch.enable_grad():
        search.step(objective)
    return map_.detach()
