"""Run a model over encoded rows: batches of like lengths, answers in the order of the rows."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn
from tqdm.auto import tqdm

if TYPE_CHECKING:
    from datasets import Dataset


@torch.no_grad()
def predict(model: nn.Module, encoded: Dataset, collate, batch_size: int = 64, title: str = "predicting") -> np.ndarray:
    """The first output of `model` (logits) for every row, `(rows, ...)` in fp32, in the order of the rows.

    Args:
        model: put into evaluation mode; run in its own dtype.
        encoded: from `Task.encode`; `length` and `labels` are not given to the model.
        collate: from `Task.collator`.
    """
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    lengths = list(encoded["length"])
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    inputs = encoded.remove_columns([name for name in ("length", "labels") if name in encoded.column_names])
    found: list[np.ndarray | None] = [None] * len(encoded)
    bar = tqdm(total=len(order), desc=title, unit="rows", disable=not sys.stderr.isatty(), leave=False)
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        batch = collate([inputs[i] for i in chosen])
        outputs = model(**{key: value.to(device) for key, value in batch.items()})
        logits = outputs[0].float().cpu().numpy()
        for i, row in zip(chosen, logits, strict=True):
            found[i] = row
        bar.update(len(chosen))
    bar.close()
    model.train(was_training)
    return np.stack(found) if found else np.zeros((0, 0), dtype=np.float32)
