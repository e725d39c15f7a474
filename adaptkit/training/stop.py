"""Stop a training on a signal: the step ends, a checkpoint is written, and then it is over.

SIGTERM comes from batch systems and from torchrun, SIGHUP from a terminal that is closed, SIGINT
from Ctrl-C. A second Ctrl-C stops at once. Several processes stop at the same step.
"""

from __future__ import annotations

import os
import signal
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import distributed
from transformers import TrainerCallback

from adaptkit.utils.processes import is_main

SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]
AT_ONCE = 1.0  # seconds: a launcher may repeat a Ctrl-C sooner than a person does


@dataclass(frozen=True)
class Stop:
    """Where a training was stopped, and by which signal."""

    signal: int
    step: int
    steps: int

    @property
    def exit_code(self) -> int:
        """The exit code of a process that such a signal ends."""
        return 128 + self.signal

    def __str__(self) -> str:
        return f"by {signal.Signals(self.signal).name} at step {self.step} of {self.steps}"


class TrainingStopped(BaseException):
    """Leaves Trainer's loop once the checkpoint is written."""


class StopOnSignal(TrainerCallback):
    """Ends a training after the step in which a signal arrives.

    Where an evaluation is due at that step, it comes first: what is resumed then has its score.
    """

    def __init__(self) -> None:
        self._received, self._since = 0, 0.0  # in this process
        self._agreed = 0  # in all processes, at the same step
        self._last_save = False
        self._group: Any = None  # of all processes, beside that of the gradients

    def stop_of(self, state: Any) -> Stop | None:
        """What stopped a training, if anything did."""
        return Stop(self._agreed, state.global_step, state.max_steps) if self._agreed else None

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Receive the signals while the block runs, in the main thread; ignored ones stay so."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {one: signal.getsignal(one) for one in SIGNALS}
        ours = {one: handler for one, handler in before.items() if handler != signal.SIG_IGN}
        try:
            for one in ours:
                signal.signal(one, self._receive)
            yield
        finally:
            for one, handler in ours.items():
                signal.signal(one, handler)
            if self._received and not self._agreed:  # it came too late to be seen here
                signal.raise_signal(self._received)

    def _receive(self, number: int, frame: Any) -> None:
        now = time.monotonic()
        again = self._received and self._group is None and now - self._since > AT_ONCE
        if again and number == signal.SIGINT:
            raise KeyboardInterrupt
        if not self._received:
            self._received, self._since = number, now
            name = signal.Signals(number).name
            _say(f"\n{name}: the step ends, a checkpoint is written; then it stops\n")

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if args.world_size > 1 and distributed.is_initialized():
            self._group = distributed.new_group(backend="gloo")

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._agree()
        evaluated_next = args.eval_strategy == "epoch" and float(state.epoch or 0).is_integer()
        if self._agreed and not evaluated_next:
            control.should_save = self._last_save = True

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self._agreed:
            control.should_save = self._last_save = True

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self._last_save:
            raise TrainingStopped

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._agree()

    def _agree(self) -> None:
        """A signal reaches the processes at different steps: from here on they all know of it."""
        if self._group is None:
            self._agreed = self._received
            return
        anywhere = torch.tensor(self._received)
        distributed.all_reduce(anywhere, distributed.ReduceOp.MAX, self._group)
        self._agreed = int(anywhere)


@contextmanager
def ignoring_signals() -> Iterator[None]:
    """Let no further signal disturb what a stopped training still writes."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {one: signal.signal(one, signal.SIG_IGN) for one in SIGNALS}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def wait_for_all() -> None:
    """Wait until all processes are here: a launcher kills the others when one ends."""
    if distributed.is_initialized():
        distributed.barrier()


def _say(text: str) -> None:
    """Write to stderr, within a signal handler; if the terminal is gone, nothing is shown there."""
    if not is_main():
        return
    try:
        os.write(2, text.encode())
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for output in (1, 2):
            if stat.S_ISCHR(os.fstat(output).st_mode):
                os.dup2(nowhere, output)
