"""Run a model over a batch of a task: all of it, or only as much of its head as the task reads."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from torch import Tensor

from adaptkit.models.language.head import labelled_places, token_logits
from adaptkit.models.probe import network_below_head

if TYPE_CHECKING:
    from adaptkit.tasks.base import Task

MULTIPLE = 64  # of labelled tokens in a batch of few shapes
PLACES = "label_places"  # the input that holds them


def task_outputs(
    task: Task,
    model: Any,
    batch: dict[str, Tensor],
    labels: Tensor | None,
    run: Callable[..., Any],
    in_one_piece: bool = True,
) -> Any:
    """What `Task.loss` and `Task.postprocess` read of a batch.

    Args:
        model: the transformers model itself.
        batch: without labels; with `with_places`, or not.
        run: calls the model, through what it is wrapped in.
        in_one_piece: the model is whole and on one device, so that its head can run by itself.
    """
    batch = dict(batch)
    places = batch.pop(PLACES, None)
    inputs = task.model_inputs(model, batch, labels)
    predicted = None if labels is None else task.predicted(labels)
    if predicted is None:
        return run(**inputs)
    return token_logits(
        model,
        network_below_head(model) if in_one_piece else None,
        lambda: run(**inputs),
        predicted,
        labelled_places(predicted) if places is None else places,
    )


def with_places(task: Task, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """A batch with the places of its labelled tokens, of which there are few different numbers.

    So batches share their shapes, and no GPU has to be waited for to count them.
    """
    predicted = task.predicted(batch["labels"])
    places = {} if predicted is None else {PLACES: labelled_places(predicted, MULTIPLE)}
    return batch | places
