"""Judging a training as it goes: scores of its evaluations, and runs that lead nowhere."""

from __future__ import annotations

import time
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
SHORT = 60.0  # seconds: a training that is over is repeated if it took no longer


class StopDeadRun(TrainerCallback):
    """Gives a training up, without a checkpoint, if its first evaluation shows nothing learned.

    Evaluations before `ENOUGH_STEPS` steps do not count, unless they show that something is
    learned. One at the end of a long training saves no time any more: it counts for a short one.

    found: why it was given up; empty if it was not.
    """

    def __init__(self, judge: Judge):
        self.judge, self.found, self._judged = judge, "", False
        self._began = time.monotonic()

    def on_train_begin(self, args, state, control, **kwargs):
        self._began = time.monotonic()

    def on_evaluate(self, args, state, control, **kwargs):
        if self._judged or not state.global_step:
            return
        why = self.judge.learned_nothing()
        self._judged = not why or state.global_step >= ENOUGH_STEPS
        over = state.global_step >= state.max_steps
        if why and self._judged and (not over or self._was_short(args)):
            self.found = why
            control.should_training_stop, control.should_save = True, False

    def _was_short(self, args) -> bool:
        """Only where one process decides: each has a clock of its own."""
        return args.world_size == 1 and time.monotonic() - self._began < SHORT


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
