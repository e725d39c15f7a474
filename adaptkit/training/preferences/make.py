"""Make TRL's trainer of a loss over an adapter and encoded pairs."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from datasets import (
    Dataset,
    are_progress_bars_disabled,
    disable_progress_bars,
    enable_progress_bars,
)
from peft import PeftModel
from transformers import EarlyStoppingCallback, TrainerCallback, TrainingArguments

from adaptkit.errors import AdaptkitError
from adaptkit.metrics.units import LOWER_IS_BETTER
from adaptkit.tasks.prefer import Prefer
from adaptkit.training.callbacks import StopOnBadLoss
from adaptkit.training.options import EncodedSplit, TrainerOptions
from adaptkit.training.preferences.losses import LOSSES, Loss
from adaptkit.training.preferences.trainer import PreferenceTrainer
from adaptkit.training.progress import Progress

# Options that change how a batch is made or what its loss is, which TRL decides here.
NOT_HERE = ("adversarial_epsilon", "max_tokens_per_batch", "l2_sp", "gradual_unfreezing")


def make_preference_trainer(
    model: Any,
    task: Prefer,
    train: EncodedSplit,
    validation: EncodedSplit | None,
    tokenizer: Any,
    args: TrainingArguments,
    options: TrainerOptions = TrainerOptions(),
) -> PreferenceTrainer:
    """A trainer of TRL that evaluates with the task's metrics if there are validation rows.

    The reference of losses that have one is the base with its adapter off.

    Raises:
        AdaptkitError: the model has no adapter, TRL is missing, or an option is not for it.
    """
    loss = LOSSES[task.loss_type]
    _check(model, options, args, loss)
    kind = loss.trainer()
    callbacks: list[TrainerCallback] = [StopOnBadLoss()]
    callbacks += [Progress(task.best_metric)] if options.progress else []
    if options.early_stopping_patience:
        callbacks.append(EarlyStoppingCallback(options.early_stopping_patience))
    own = config_of(kind.config, args, task, loss)
    order = {"batch_size": own.per_device_train_batch_size, "seed": own.seed}
    rows = [
        Dataset.from_list(kind.rows(split.encoded, **order)) if split else None
        for split in (train, validation)
    ]
    with _without_bars(), _refusals():
        found = kind(
            model=model,
            args=own,
            task=task,
            options=options,
            train_dataset=rows[0],
            eval_dataset=rows[1],
            processing_class=tokenizer,
            callbacks=callbacks,
        )
    found.validation = validation
    return found


def config_of(kind: type, args: TrainingArguments, task: Prefer, loss: Loss) -> Any:
    """TRL's configuration with the values of Trainer's arguments."""
    names = [item.name for item in dataclasses.fields(TrainingArguments) if item.init]
    values = {name: getattr(args, name) for name in names}
    best = args.metric_for_best_model or task.best_metric
    values |= {
        "metric_for_best_model": best,
        "greater_is_better": best.removeprefix("eval_") not in LOWER_IS_BETTER,
        "remove_unused_columns": False,
        "max_length": None,
        "beta": task.strength,
    }
    return kind(**values | loss.settings)


@contextmanager
def _without_bars() -> Iterator[None]:
    """No bars of `datasets` for rows that are mapped to themselves."""
    shown = not are_progress_bars_disabled()
    disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            enable_progress_bars()


@contextmanager
def _refusals() -> Iterator[None]:
    """What TRL or PEFT raise for settings that do not go together, as an error of ours."""
    try:
        yield
    except (NotImplementedError, ValueError) as problem:
        raise AdaptkitError(f"TRL refuses these settings: {problem}") from problem


def _check(model: Any, options: TrainerOptions, args: TrainingArguments, loss: Loss) -> None:
    if not isinstance(model, PeftModel):
        raise AdaptkitError(
            "prefer trains an adapter: the base without it is the reference. Leave --method full "
            "and --train out."
        )
    if loss.engine in ("CPO", "ORPO") and model.active_peft_config.is_prompt_learning:
        raise AdaptkitError(
            "this --loss_type does not go with tokens in front of a text; dpo does."
        )
    if args.train_sampling_strategy == "group_by_length":
        raise AdaptkitError("--train_sampling_strategy group_by_length is not for prefer.")
    if (args.metric_for_best_model or "").removeprefix("eval_") == "loss":
        raise AdaptkitError(
            "--metric_for_best_model loss is not for prefer, whose validation is by rewards: "
            "reward_accuracy, reward_margin or perplexity."
        )
    standard = TrainerOptions()
    for name in NOT_HERE:
        if getattr(options, name) != getattr(standard, name):
            raise AdaptkitError(f"--{name} is not for prefer, whose loss TRL computes.")
