"""Train a loaded model, or run a whole training from prepared rows to reports."""

from __future__ import annotations

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


def train(loaded: Loaded) -> Fitted:
    """Train; the model ends with its best epoch, or its last if no epoch was evaluated.

    If no epoch is as good as the linear probe that the head started from, it ends as that probe.
    """
    encoded, prepared = loaded.encoded, loaded.prepared
    if is_main() and loaded.shared.attention:
        keep_choice(prepared.output_dir, loaded.shared.attention)
    train_split, validation = encoded.splits["train"], encoded.splits.get("validation")
    start = trained_weights(loaded)
    output = fit(
        loaded.model,
        prepared.task,
        train_split,
        validation,
        encoded.tokenizer,
        prepared.training,
        loaded.options(),
    )
    put_back = not output.stopped and keep_the_better(loaded, output.history, start)
    return Fitted(loaded, output, put_back)


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
