"""Run a model over encoded rows."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from tqdm.auto import tqdm

from adaptkit.data.samplers import lengths_of
from adaptkit.errors import AdaptkitError
from adaptkit.models.language.outputs import task_outputs
from adaptkit.tasks.base import Task
from adaptkit.utils.cudnn import disable_cudnn_sdpa

if TYPE_CHECKING:
    from datasets import Dataset


@torch.no_grad()
@disable_cudnn_sdpa()
def predict(
    model: nn.Module,
    task: Task,
    encoded: Dataset,
    tokenizer: Any,
    batch_size: int = 64,
    title: str = "predicting",
) -> np.ndarray:
    """The postprocessed outputs (`Task.postprocess`) of every row, in the order of the rows.

    Args:
        model: put into evaluation mode; run in its own dtype.
        encoded: from `Task.encode`.

    Returns:
        `(rows, ...)`; rows of different lengths are padded with -100. For a task that compares with
        the base, its outputs follow along the second axis.

    Raises:
        AdaptkitError: the task compares with the base, and the model has no adapter.
    """
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    order = sorted(range(len(encoded)), key=lengths_of(encoded).__getitem__)
    collate = task.collator(tokenizer)
    found: list[np.ndarray] = [np.zeros(0)] * len(encoded)
    bar = tqdm(
        total=len(order), desc=title, unit="rows", disable=not sys.stderr.isatty(), leave=False
    )
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        batch = {
            key: value.to(device) for key, value in collate([encoded[i] for i in chosen]).items()
        }
        kept = _postprocessed(task, model, batch)
        if task.compares:
            with _without_adapter(model, task):
                kept = torch.cat([kept, _postprocessed(task, model, batch)], 1)
        for i, row in zip(chosen, kept.cpu().numpy(), strict=True):
            found[i] = row
        bar.update(len(chosen))
    bar.close()
    model.train(was_training)
    return stack_rows(found)


def _postprocessed(task: Task, model: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    labels = batch.get("labels")
    inputs = {key: value for key, value in batch.items() if key != "labels"}
    return task.postprocess(task_outputs(task, model, inputs, labels, model), batch, labels)


def _without_adapter(model: Any, task: Task) -> AbstractContextManager[Any]:
    if not hasattr(model, "disable_adapter"):
        raise AdaptkitError(
            f"{task.name} compares an adapter with its base alone; this model has no adapter that "
            "can be switched off."
        )
    return model.disable_adapter()


def stack_rows(rows: list[np.ndarray]) -> np.ndarray:
    """Rows as one array; rows of different lengths are padded with -100."""
    if len({row.shape for row in rows}) > 1:
        longest = max(len(row) for row in rows)
        fill = [(0, 0)] * (rows[0].ndim - 1)
        rows = [np.pad(row, [(0, longest - len(row)), *fill], constant_values=-100) for row in rows]
    return np.stack(rows)
