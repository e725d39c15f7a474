"""Calibrate a trained classifier on its validation rows.

The temperature is put into the last map of the head: its weights and bias are divided by it. So
every answer has it, also those of a pipeline, of a merged model, and of an exported one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from datasets import Dataset
from torch import nn

from adaptkit.data.tables import Table
from adaptkit.heads.start import new_parts
from adaptkit.inference.predict import predict
from adaptkit.tasks.classify import Classify
from adaptkit.tasks.labels.calibration import abstain_threshold, fit_temperature, fit_thresholds
from adaptkit.utils.processes import log_main

FEWEST = 20  # validation rows


def output_map(model: Any, labels: int) -> nn.Linear | None:
    """The last map of a head that trains; None if that cannot be told."""
    maps = [
        module
        for part in new_parts(model)
        for module in part.modules()
        if isinstance(module, nn.Linear) and module.out_features == labels
    ]
    return maps[0] if len(maps) == 1 and maps[0].weight.is_floating_point() else None


def calibrate(
    model: Any, task: Any, table: Table, encoded: Dataset, tokenizer: Any, batch_size: int
) -> tuple[Any, dict[str, float]]:
    """Divide a model's logits by the temperature of its validation rows; fit what thresholds the
    task asks for.

    Args:
        table, encoded: the validation rows.

    Returns:
        The task with its thresholds, and what was found: `temperature`, and the threshold below
        which no answer is given, with the precision and coverage of validation rows above it.
        Nothing changes for other tasks, or with fewer than 20 rows.
    """
    if not isinstance(task, Classify) or not (task.calibrate or task.chooses_thresholds):
        return task, {}
    if len(table) < FEWEST:
        warn_without_rows(task, len(table))
        return task, {}
    logits = np.asarray(predict(model, task, encoded, tokenizer, batch_size))
    targets = np.asarray([task.target(row) for row in table.rows])
    found: dict[str, float] = {}
    head = output_map(model, logits.shape[-1]) if task.calibrate else None
    if head is not None:
        temperature = fit_temperature(logits, targets)
        scale(head, temperature)
        logits, found["temperature"] = logits / temperature, temperature
    return _with_thresholds(task, logits, targets, found)


def warn_without_rows(task: Any, rows: int) -> None:
    """Say that thresholds cannot be chosen, if the task asks for some."""
    if isinstance(task, Classify) and task.chooses_thresholds:
        log_main(f"warning: no threshold is chosen: {rows} validation rows are fewer than {FEWEST}")


@torch.no_grad()
def scale(head: nn.Linear, temperature: float) -> None:
    """Divide what a map gives."""
    head.weight.div_(temperature)
    if head.bias is not None:
        head.bias.div_(temperature)


def _with_thresholds(
    task: Classify, logits: np.ndarray, targets: np.ndarray, found: dict[str, float]
) -> tuple[Classify, dict[str, float]]:
    if task.multi_label and task.threshold_per_label:
        return task.with_thresholds(fit_thresholds(task.shares(logits), targets)), found
    if task.abstain_precision is None and task.abstain_coverage is None:
        return task, found
    confidences, right = task.shares(logits).max(-1), logits.argmax(-1) == targets
    threshold, precision, coverage = abstain_threshold(
        confidences, right, task.abstain_precision, task.abstain_coverage
    )
    if task.abstain_precision is not None and precision < task.abstain_precision:
        log_main(
            f"warning: no threshold has a precision of {task.abstain_precision:g} on the "
            f"validation rows; the best one has {precision:.3f}"
        )
    found |= {
        "abstain_below": threshold,
        "abstain_precision": precision,
        "abstain_coverage": coverage,
    }
    return task.abstaining(threshold), found
