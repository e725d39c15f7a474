"""Run a model over a batch of a task: all of it, or only as much of its head as the task reads."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from torch import Tensor

from adaptkit.models.backbone import bare_model
from adaptkit.models.language.head import labelled_places, token_logits, without_prompt
from adaptkit.models.probe import network_below_head

if TYPE_CHECKING:
    from adaptkit.tasks.base import Task

MULTIPLE = 64  # of labelled tokens in a batch of few shapes
OF_TOKENS = {"logits": 3, "start_logits": 2, "end_logits": 2}  # outputs with so many axes
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
        model: a transformers model, adapted or not.
        batch: without labels; with `with_places`, or not.
        run: calls the model, through what it is wrapped in.
        in_one_piece: the model is whole and on one device, so that its head can run by itself.
    """
    batch = dict(batch)
    places = batch.pop(PLACES, None)
    bare = bare_model(model)
    inputs = task.model_inputs(bare, batch, labels)
    predicted = None if labels is None else task.predicted(labels)
    virtual = virtual_tokens(model)
    if predicted is None:
        outputs = run(**inputs)
        return _of_texts(outputs, inputs["input_ids"].shape[1], virtual) if virtual else outputs
    return token_logits(
        bare,
        network_below_head(bare) if in_one_piece else None,
        lambda: run(**inputs),
        predicted,
        labelled_places(predicted) if places is None else places,
        virtual,
    )


def _of_texts(outputs: Any, tokens: int, virtual: int) -> Any:
    """A task model's outputs without those of virtual tokens."""
    for name, axes in OF_TOKENS.items():
        if (found := outputs.get(name)) is not None and found.ndim == axes:
            outputs[name] = without_prompt(found, tokens, virtual)
    return outputs


def virtual_tokens(model: Any) -> int:
    """How many tokens PEFT's prompt tuning puts in front of a text; 0 for all else."""
    config = getattr(model, "active_peft_config", None)
    return config.num_virtual_tokens if getattr(config, "is_prompt_learning", False) else 0


def with_places(task: Task, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """A batch with the places of its labelled tokens, of which there are few different numbers.

    So batches share their shapes, and no GPU has to be waited for to count them.
    """
    predicted = task.predicted(batch["labels"])
    places = {} if predicted is None else {PLACES: labelled_places(predicted, MULTIPLE)}
    return batch | places
