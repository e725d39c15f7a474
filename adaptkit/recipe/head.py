"""The head of a recipe's model: which tokens it reads, and from where it starts."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from adaptkit.adapters.card import read_card, task_of
from adaptkit.adapters.full import FULL
from adaptkit.distillation.distill import labelled_rows
from adaptkit.distillation.wrapped_task import unwrapped, with_settings
from adaptkit.errors import AdaptkitError, unknown
from adaptkit.heads.pooling import poolings_for
from adaptkit.heads.start import (
    HeadStart,
    fill,
    start_from_prior,
    start_from_probe,
)
from adaptkit.inference.predict import predict
from adaptkit.recipe.steps import Encoded, Loaded
from adaptkit.tasks.base import Task
from adaptkit.tasks.sequence import AUTO, NATIVE, SequenceTask
from adaptkit.training.options import EncodedSplit
from adaptkit.utils.processes import log_main

STARTS = ("probe", "prior", "random")
# Models whose checkpoints hold all that the task reads.
HEADLESS = ("AutoModel", "AutoModelForCausalLM", "AutoModelForSeq2SeqLM")


def settle_pooling(encoded: Encoded) -> tuple[Encoded, tuple[str, ...]]:
    """The task with a pooling to load the model with, and the poolings to choose from.

    What trains a part of the model itself stays an ordinary model of transformers'.
    """
    task, arguments = unwrapped(encoded.prepared.task), encoded.prepared.arguments
    if not isinstance(task, SequenceTask) or task.pooling != AUTO:
        return encoded, ()
    if getattr(arguments, "student", None):  # a small network, with a head of its own
        return with_pooling(encoded, NATIVE), ()
    if arguments.method == FULL:
        log_main(
            "pooling: native, so that the result is an ordinary model of transformers'; with a "
            "sentence encoder try --pooling mean"
        )
        return with_pooling(encoded, NATIVE), ()
    if arguments.warm_start and (pooling := _pooling_of(arguments.warm_start)):
        return with_pooling(encoded, pooling), ()
    poolings = poolings_for(encoded.prepared.base, arguments.model_revision, encoded.config)
    if len(poolings) > 1 and _how(encoded) != "probe":
        poolings = (NATIVE,)
    return with_pooling(encoded, poolings[0]), poolings if poolings[0] != NATIVE else ()


def _pooling_of(folder: str) -> str | None:
    """What the head of a stored adapter reads; None if its task has one of another kind."""
    card = read_card(Path(folder))
    task = task_of(card) if card is not None and card.task else None
    return task.pooling if isinstance(task, SequenceTask) else None


def with_pooling(encoded: Encoded, pooling: str) -> Encoded:
    """The same rows, of a task with this pooling."""
    task = with_settings(encoded.prepared.task, pooling=pooling)
    prepared = dataclasses.replace(encoded.prepared, task=task)
    return dataclasses.replace(encoded, prepared=prepared)


def start_head(base: Any, encoded: Encoded, poolings: tuple[str, ...]) -> HeadStart | None:
    """Start the head from a linear probe, and score the probe on the validation and test rows.

    A head that is more than a linear map starts from the frequencies of the labels.

    Args:
        base: with a new head and without an adapter.

    Raises:
        AdaptkitError: `--head_start` is unknown, or there are texts without labels that no probe
            would read.
    """
    how = _how(encoded)
    if how == "random":
        return None
    task, splits = encoded.prepared.task, encoded.splits
    seed = encoded.prepared.training.seed
    train = labelled_rows(splits["train"].encoded)
    start = None
    if how == "probe":
        start = start_from_probe(
            base, task, train, encoded.tokenizer, poolings, seed, encoded.unlabelled
        )
    if start is None and encoded.unlabelled is not None:
        raise _unlabelled_unused(base, task)
    if start is None:
        if start_from_prior(base, task, train):
            log_main("head: starts from the frequencies of the labels")
        return None
    reads = f", pooling {start.pooling}" if start.pooling else ""
    rows = f"{start.rows} frozen rows"
    if encoded.unlabelled is not None:
        rows += f" and {start.pseudo_labelled} of {len(encoded.unlabelled)} without a label"
    scores = {
        name: _score(base, task, split, encoded.tokenizer)
        for name, split in splits.items()
        if name in ("validation", "test")
    }
    alone = "".join(f"; {name} {task.best_metric} {score:.4f}" for name, score in scores.items())
    log_main(f"head: starts from a linear probe of {rows} ({start.seconds:.1f} s{reads}){alone}")
    fill(base, start.soft)
    return dataclasses.replace(start, scores=scores)


def _unlabelled_unused(base: Any, task: Task) -> AdaptkitError:
    other = "Leave it out"
    if not base.config.is_encoder_decoder:
        other += ", or choose --pooling mean, first, last or max"
    return AdaptkitError(
        "--unlabelled_file would not be used: it helps the probe that a new head starts from, and "
        f"with --pooling {getattr(task, 'pooling', NATIVE)} the head of this {type(base).__name__} "
        f"is more than one linear map. {other}."
    )


def _score(model: Any, task: Task, split: EncodedSplit, tokenizer: Any) -> float:
    outputs = predict(model, task, split.encoded, tokenizer)
    return float(task.metrics(outputs, split.encoded, split.table)[task.best_metric])


def trained_weights(loaded: Loaded) -> dict[str, Tensor]:
    """A copy of what trains, to go back to; empty if `keep_the_better` would not."""
    if not _can_go_back(loaded):
        return {}
    named = loaded.model.named_parameters()
    return {name: one.detach().clone() for name, one in named if one.requires_grad}


def _can_go_back(loaded: Loaded) -> bool:
    """True if the best epoch is chosen, and a probe was scored on the same rows."""
    scored = loaded.head_start is not None and "validation" in loaded.head_start.scores
    return scored and loaded.prepared.training.load_best_model_at_end


@torch.no_grad()
def keep_the_better(
    loaded: Loaded, history: list[dict[str, float]], start: dict[str, Tensor]
) -> bool:
    """Go back to the probe if no epoch of a training scored as well as it does alone.

    Only where the best epoch is chosen: few validation rows cannot tell the two apart.

    Args:
        history: Trainer's log.
        start: `trained_weights` from before the training.

    Returns:
        Whether the model was put back.
    """
    head = loaded.head_start
    if not _can_go_back(loaded) or head is None:
        return False
    sign = -1 if loaded.prepared.task.lower_is_better else 1
    name = f"eval_{loaded.prepared.task.best_metric}"
    scores = [entry[name] for entry in history if name in entry]
    alone = head.scores["validation"]
    if not scores or max(sign * score for score in scores) >= sign * alone:
        return False
    for key, parameter in loaded.model.named_parameters():
        if key in start:
            parameter.copy_(start[key].to(parameter))
    fill(loaded.model, head.probe)
    return True


def _how(encoded: Encoded) -> str:
    """Where the head starts: as asked for, if the base is pretrained and the head is new."""
    return how_to_start(encoded.prepared.arguments, encoded.prepared.task)


def check_head_flags(given: Collection[str], arguments: Any, task: Task) -> None:
    """Refuse flags of the head that the task's model has no head for, and rates that are none.

    Args:
        given: the flags that the user set.
    """
    start, rate = arguments.head_start, arguments.head_learning_rate
    if rate is not None and not 0 < rate < math.inf:
        raise AdaptkitError(
            f"--head_learning_rate is more than 0; it got {rate:g}. Leave it out for the rate of "
            "all else; a small one, such as 1e-6, keeps the head about as it starts."
        )
    if "head_start" in given and start != "random" and not task.linear_head:
        raise AdaptkitError(
            f"--head_start {start} would not be used: {_what(task)} has no linear head that reads "
            "one vector, as classify, relate, score and tag have. Leave it out."
        )
    if "head_learning_rate" in given and task.auto_class in HEADLESS:
        raise AdaptkitError(
            f"--head_learning_rate would not be used: {_what(task)} has no new head. Leave it out; "
            "--learning_rate is the rate of all that trains."
        )


def _what(task: Task) -> str:
    encoder = getattr(task, "encoder", None)
    return f"{task.name} with --encoder {encoder}" if encoder else task.name


def how_to_start(arguments: Any, task: Task) -> str:
    """Where the head of a recipe with these flags starts: one of `STARTS`."""
    if arguments.head_start not in STARTS:
        raise unknown("--head_start", str(arguments.head_start), STARTS)
    new = arguments.model_name_or_path and not arguments.warm_start
    return arguments.head_start if new and task.linear_head else "random"


def trains_beside_probe(arguments: Any, task: Task) -> bool:
    """True if an adapter trains while the head of a text classifier starts from a probe."""
    classifies = isinstance(unwrapped(task), SequenceTask) and bool(task.labels)
    return classifies and arguments.method != FULL and how_to_start(arguments, task) == "probe"
