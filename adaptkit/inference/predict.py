"""Run a model over encoded rows."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from tqdm.auto import tqdm

from adaptkit.data.samplers import lengths_of
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
        `(rows, ...)`; rows of different lengths are padded with -100.
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
        labels = batch.get("labels")
        inputs = {key: value for key, value in batch.items() if key != "labels"}
        outputs = task_outputs(task, model, inputs, labels, model)
        for i, row in zip(
            chosen, task.postprocess(outputs, batch, labels).cpu().numpy(), strict=True
        ):
            found[i] = row
        bar.update(len(chosen))
    bar.close()
    model.train(was_training)
    return stack_rows(found)


def stack_rows(rows: list[np.ndarray]) -> np.ndarray:
    """Rows as one array; rows of different lengths are padded with -100."""
    if len({row.shape for row in rows}) > 1:
        longest = max(len(row) for row in rows)
        fill = [(0, 0)] * (rows[0].ndim - 1)
        rows = [np.pad(row, [(0, longest - len(row)), *fill], constant_values=-100) for row in rows]
    return np.stack(rows)
