"""One line of progress on a terminal and in a log file: epoch, loss, score, time left.

    epoch 2/10  step 60/300  loss 0.412  accuracy 0.871  1 min 12 s left

A terminal also shows the current step with tqdm. A log file gets a line after each evaluation (or
epoch), and after each half minute of a longer epoch. The loss is the mean over the steps of that
epoch so far, whatever `--logging_steps` is.
"""

from __future__ import annotations

import sys
import time
from typing import Any

from accelerate.utils import reduce
from torch import Tensor
from tqdm import tqdm
from transformers import TrainerCallback

EVERY = 30.0  # seconds between two lines of a long epoch


def duration(seconds: float) -> str:
    """A duration as text: `8 s`, `1 min 12 s`, `2 h 5 min`."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60} min"


class Progress(TrainerCallback):
    """Prints the progress line in place of Trainer's bars and dictionaries.

    Args:
        metric: the validation metric to show.
    """

    def __init__(self, metric: str):
        self.metric = metric
        self._loss: float | None = None
        self._sum: Tensor | None = None  # of the losses of an epoch, where they were computed
        self._steps = 0  # of that epoch
        self._score: float | None = None
        self._bar: Any = None

    def add(self, loss: Tensor) -> None:
        """Count what a batch adds to the loss of its step, without waiting for the device."""
        if self._sum is None:
            self._sum = loss.detach().float().clone()  # a CUDA graph writes its loss again
        else:
            self._sum += loss.detach()

    def _read_loss(self, all_processes: bool) -> None:
        """Take the mean of the epoch so far: of all processes, or of this one's rows alone."""
        if self._sum is None or not self._steps:
            return
        total = reduce(self._sum, "mean") if all_processes else self._sum
        self._loss = float(total) / self._steps

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._sum, self._steps = None, 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._began, self._first = time.perf_counter(), state.global_step
        self._printed, self._shown = self._began, -1
        live = state.is_world_process_zero and sys.stderr.isatty() and not args.disable_tqdm
        if live:
            bars = {"total": state.max_steps, "initial": state.global_step, "leave": False}
            self._bar = tqdm(desc="training", unit="step", dynamic_ncols=True, **bars)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._steps += 1
        if self._bar is not None:
            self._bar.update(state.global_step - self._bar.n)
        if time.perf_counter() - self._printed > EVERY:
            self._read_loss(all_processes=False)
            self._print(state)

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if not control.should_evaluate:
            self._read_loss(all_processes=True)
            self._print(state)

    def on_evaluate(
        self,
        args: Any,
        state: Any,
        control: Any,
        metrics: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        self._score = (metrics or {}).get(f"eval_{self.metric}", self._score)
        if state.global_step:
            self._read_loss(all_processes=True)
            self._print(state)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _print(self, state: Any) -> None:
        if not state.is_world_process_zero or self._shown == state.global_step:
            return
        self._printed, self._shown = time.perf_counter(), state.global_step
        line = self.line(state, self._printed - self._began)
        tqdm.write(line) if self._bar is not None else print(line, flush=True)

    def line(self, state: Any, seconds: float) -> str:
        """The line for a training state after this many seconds."""
        done = max(1, state.global_step - self._first)
        left = seconds / done * (state.max_steps - state.global_step)
        parts = [
            f"epoch {state.epoch or 0:.3g}/{state.num_train_epochs}",
            f"step {state.global_step}/{state.max_steps}",
        ]
        if self._loss is not None:
            parts.append(f"loss {float(self._loss):.3g}")
        if self._score is not None:
            parts.append(f"{self.metric.replace('_', ' ')} {self._score:.4g}")
        parts.append(f"{duration(left)} left" if state.global_step < state.max_steps else "done")
        return "  ".join(parts)
