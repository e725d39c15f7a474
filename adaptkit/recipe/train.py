"""Train a loaded model, or run a whole training from prepared rows to reports."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from adaptkit.recipe.encode import encode
from adaptkit.recipe.finish import finish
from adaptkit.recipe.head import keep_the_better, trained_weights
from adaptkit.recipe.load import load
from adaptkit.recipe.steps import Encoded, Fitted, Loaded, Prepared, Shared
from adaptkit.training.fastest_attention import keep_choice
from adaptkit.training.fit import fit
from adaptkit.training.stop import Stop, ignoring_signals, wait_for_all
from adaptkit.utils.processes import is_main, log_main

LOWER = 3  # what the learning rate is divided by after a training in which nothing was learned


def train(loaded: Loaded) -> Fitted:
    """Train; the model ends with its best epoch, or its last if no epoch was evaluated.

    If no epoch is as good as the linear probe that the head started from, it ends as that probe. If
    the first evaluation shows that nothing is learned (`StopDeadRun`), training starts again, once,
    with a lower learning rate; if the user has set the rate, it goes on.
    """
    prepared = loaded.prepared
    if is_main() and loaded.shared.attention:
        keep_choice(prepared.output_dir, loaded.shared.attention)
    resumed = prepared.training.resume_from_checkpoint
    fitted = _train(loaded, "learning_rate" not in prepared.given and not resumed)
    if not (dead := fitted.output.dead):
        return fitted
    rate = prepared.training.learning_rate / LOWER
    log_main(f"warning: {dead}. Training starts again with --learning_rate {rate:g}")
    lower = loaded.with_training(dataclasses.replace(prepared.training, learning_rate=rate))
    encoded, shared = lower.encoded, lower.shared
    del loaded, fitted, lower  # and their model
    return dataclasses.replace(_train(load(encoded, shared), False), dead=dead)


def _train(loaded: Loaded, stop_dead_run: bool) -> Fitted:
    encoded = loaded.encoded
    start = trained_weights(loaded)
    output = fit(
        loaded.model,
        loaded.prepared.task,
        encoded.splits["train"],
        encoded.splits.get("validation"),
        encoded.tokenizer,
        loaded.prepared.training,
        loaded.options(stop_dead_run),
    )
    ended = not output.stopped and not output.dead
    return Fitted(loaded, output, ended and keep_the_better(loaded, output.history, start))


def train_and_report(
    start: Prepared | Encoded, shared: Shared | None = None
) -> tuple[dict[str, Any], Shared]:
    """Encode, load, train, evaluate, save and report.

    Args:
        shared: the choices and activation cache of another training of the same recipe, to be
            reused.

    Returns:
        The content of `all_results.json`, empty on all processes but the main one; and what to
        share with the next training.
    """
    encoded = encode(start) if isinstance(start, Prepared) else start
    fitted = train(load(encoded, shared))
    arguments = fitted.loaded.prepared.arguments
    resumable = not (arguments.folds or arguments.seeds)
    with ending_if_stopped(fitted.output.stopped, resumable):
        return finish(fitted), fitted.loaded.shared


@contextmanager
def ending_if_stopped(stop: Stop | None, resumable: bool = True) -> Iterator[None]:
    """If a training was stopped, let the block write what there is, and end the process.

    Raises:
        SystemExit: 128 + the signal's number.
    """
    if stop is None:
        yield
        return
    with ignoring_signals():
        yield
        wait_for_all()
    again = "with --resume_from_checkpoint true" if resumable else "to train anew"
    log_main(f"stopped {stop}; to go on, repeat the command {again}")
    raise SystemExit(stop.exit_code)
