"""Start the head of a task from a linear probe of the frozen base.

A fresh random head spends the first epochs of a training finding what a logistic regression on
frozen features knows at once, and while it does, it pushes the adapter about. So the head starts
as that regression. The loss is the task's own, which covers class weights, several labels, scores
and tags alike.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from adaptkit.data.collate import IGNORED
from adaptkit.heads.features import MOST_TOKENS, head_features
from adaptkit.heads.linear_probe import LinearProbe, fit_bias, fit_linear_probe, soften
from adaptkit.heads.pseudo_labels import with_pseudo_labels
from adaptkit.models.pooled import Pool
from adaptkit.models.probe import evaluating
from adaptkit.tasks.base import Task

if TYPE_CHECKING:
    from datasets import Dataset

MOST_ROWS = 4000  # rows of the probe


@dataclass(frozen=True)
class HeadStart:
    """How a head was started.

    probe: what the head is at first. soft: the same, less sure, to train from. rows: that the
        probe saw. pooling: what a pooling head reads, as chosen; empty for other heads.
        pseudo_labelled: rows without a label that the probe saw, too. scores: the task's metric of
        the probe alone on the validation and test rows, by split.
    """

    probe: LinearProbe
    soft: LinearProbe
    rows: int
    seconds: float
    pooling: str = ""
    pseudo_labelled: int = 0
    scores: Mapping[str, float] = field(default_factory=dict)


def linear_head(model: Any) -> nn.Linear | None:
    """The linear map that is all that is new in a task model; None if the head is anything else."""
    new = new_parts(model)
    maps = [module for part in new for module in part.modules() if isinstance(module, nn.Linear)]
    numbers = sum(parameter.numel() for part in new for parameter in part.parameters())
    if len(maps) != 1 or sum(parameter.numel() for parameter in maps[0].parameters()) != numbers:
        return None
    return maps[0]


def new_parts(model: Any) -> list[nn.Module]:
    """The modules of the new head; of a model with an adapter the copies that train."""
    found = [model.get_submodule(path) for path in model.adaptkit_base.head]
    return [
        part.modules_to_save["default"] if hasattr(part, "modules_to_save") else part
        for part in found
    ]


def start_from_probe(
    model: Any,
    task: Task,
    encoded: Dataset,
    tokenizer: Any,
    poolings: tuple[str, ...] = (),
    seed: int = 0,
    unlabelled: Dataset | None = None,
) -> HeadStart | None:
    """Fit a probe on training rows and write it into the model's head.

    Before it is trained, `HeadStart.soft` belongs there.

    Args:
        model: from `load_base`, without an adapter; its head is new.
        encoded: training rows, from `Task.encode` with labels.
        poolings: those to choose from, by the loss of rows left out; for pooling classifiers.
        seed: of the rows and folds.
        unlabelled: rows from `Task.encode` without labels, for a task of one label a text. Those
            on whose label the parts of the training rows agree join them in the probe.

    Returns:
        None if the head is more than a linear map from one vector to the labels.
    """
    began = time.perf_counter()
    head = linear_head(model) if task.linear_head else None
    if head is None:
        return None
    rows = _at_most(encoded, seed)
    pools = [module for module in model.modules() if isinstance(module, Pool)]
    reader = pools[0] if pools else head
    read = poolings or tuple(one.pooling for one in pools)
    loss = task_loss(task)
    with evaluating(model):
        features, targets = head_features(model, task, rows, tokenizer, reader, read)
        probes = {
            name: fit_linear_probe(one, targets, loss, head.out_features, seed)
            for name, one in features.items()
        }
        pooling = min(probes, key=lambda name: probes[name].held_out)
        probe, read_as, labels = probes[pooling], features[pooling], targets
        if unlabelled is not None:
            others = _at_most(unlabelled, seed)
            found, _ = head_features(model, task, others, tokenizer, reader, (pooling,))
            probe, read_as, labels = with_pseudo_labels(
                probe, read_as, labels, found[pooling], loss, seed
            )
    fill(model, probe)
    if pools:
        pools[0].pooling = model.config.adaptkit_pooling = pooling
    soft = soften(probe, read_as, labels, loss)
    more = len(labels) - len(targets)
    return HeadStart(probe, soft, len(rows), time.perf_counter() - began, pooling, more)


def _at_most(encoded: Dataset, seed: int) -> Dataset:
    """All rows, or `MOST_ROWS` that are drawn."""
    if len(encoded) <= MOST_ROWS:
        return encoded
    draw = torch.Generator().manual_seed(seed)
    return encoded.select(torch.randperm(len(encoded), generator=draw)[:MOST_ROWS].tolist())


def start_from_prior(model: Any, task: Task, encoded: Dataset) -> bool:
    """Start a head of any form from the frequencies of the labels: no weights, only its last bias.

    Where one label is most of all, as O is among tags, a random head spends its first steps on
    that, and the gradients of those steps can push an adapter where it sees no words any more.

    Returns:
        False if the head does not end in a linear map with a bias to the labels.
    """
    new = new_parts(model)
    maps = [module for part in new for module in part.modules() if isinstance(module, nn.Linear)]
    last = maps[-1] if maps else None
    if last is None or last.bias is None or last.out_features != (len(task.labels) or 1):
        return False
    targets = _targets(encoded)
    with torch.no_grad():
        last.weight.zero_()
        last.bias.copy_(fit_bias(targets, task_loss(task), last.out_features))
    return True


def _targets(encoded: Dataset) -> Tensor:
    """The labels of all rows; of tagged rows those of the first tokens that are not ignored."""
    first = encoded[0]["labels"]
    if not isinstance(first, list) or isinstance(first[0], float):
        return torch.tensor(encoded["labels"])
    of_tokens = (label for labels in encoded["labels"] for label in labels if label != IGNORED)
    return torch.tensor(list(islice(of_tokens, MOST_TOKENS)))


def task_loss(task: Task) -> Any:
    """The task's mean loss of scores `(rows, outputs)`."""

    def loss(scores: Tensor, targets: Tensor) -> Tensor:
        return task.loss(SimpleNamespace(logits=scores), {}, targets, len(targets))

    return loss


@torch.no_grad()
def fill(model: Any, probe: LinearProbe) -> None:
    """Write a probe into the linear head of a model; one without bias gets the weights alone."""
    head: Any = linear_head(model)
    head.weight.copy_(probe.weight)
    if head.bias is not None:
        head.bias.copy_(probe.bias)
