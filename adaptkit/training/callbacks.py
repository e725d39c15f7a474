"""Judging a training as it goes: scores of its evaluations, and runs that lead nowhere."""

from __future__ import annotations

from typing import Any

import numpy as np
from transformers import TrainerCallback

from adaptkit.data.samplers import lengths_of
from adaptkit.errors import AdaptkitError
from adaptkit.tasks.base import Task
from adaptkit.training.options import EncodedSplit


class Judge:
    """Scores the outputs of an evaluation of Trainer's, as its `compute_metrics`.

    rows: the encoded rows to evaluate, sorted by length.
    """

    def __init__(self, task: Task, validation: EncodedSplit):
        self.task, self.validation = task, validation
        order = np.argsort(lengths_of(validation.encoded), kind="stable")
        self._back = np.argsort(order, kind="stable")
        self.rows = validation.encoded.select(order)
        self._last: np.ndarray | None = None

    def __call__(self, result: Any) -> dict[str, float]:
        self._last = result.predictions[self._back]
        return self.task.metrics(self._last, self.validation.encoded, self.validation.table)

    def learned_nothing(self) -> str:
        """Why the outputs last scored show that nothing was learned; empty if they do not."""
        task, table = self.task, self.validation.table
        if self._last is None or not task.answers or task.generates:
            return ""
        return task.learned_nothing(task.decode(self._last, self.validation.encoded, table), table)


ENOUGH_STEPS = 20  # fewer than these teach nothing anyway


class StopDeadRun(TrainerCallback):
    """Gives a training up, without a checkpoint, if nothing is learned at its first evaluation.

    found: why it was given up; empty if it was not.
    """

    def __init__(self, judge: Judge):
        self.judge, self.found, self._looked = judge, "", False

    def on_evaluate(self, args, state, control, **kwargs):
        if self._looked or state.global_step < ENOUGH_STEPS:
            return
        self._looked = True
        self.found = self.judge.learned_nothing()
        if self.found:
            control.should_training_stop, control.should_save = True, False


class StopOnBadLoss(TrainerCallback):
    """Stop with an error if the loss is not a number: it never recovers."""

    def on_log(self, args, state, control, logs=None, **kwargs):
        loss = (logs or {}).get("loss")
        if loss is not None and not np.isfinite(loss):
            raise AdaptkitError(
                f"the training loss is {loss} at step {state.global_step}: lower "
                f"--learning_rate, now {args.learning_rate}, "
                "or train with --bf16 false."
            )
