"""Train an adapter: from a model and encoded rows to the best epoch."""

from __future__ import annotations

import time
from collections.abc import Callable, Sized
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from transformers import (
    EarlyStoppingCallback,
    PreTrainedTokenizerBase,
    TrainerCallback,
    TrainingArguments,
)

from adaptkit.data.collate import Pad
from adaptkit.data.encoded import Encoded
from adaptkit.data.samplers import padding_share
from adaptkit.errors import AdaptkitError, unknown
from adaptkit.inference.predict import predict
from adaptkit.metrics.units import LOWER_IS_BETTER
from adaptkit.models.backbone import bare_model
from adaptkit.tasks.base import Task
from adaptkit.training.callbacks import Judge, StopDeadRun, StopOnBadLoss
from adaptkit.training.frozen_layers import FrozenLayers
from adaptkit.training.options import EncodedSplit, TrainerOptions
from adaptkit.training.precision import Precision
from adaptkit.training.preferences.make import make_preference_trainer
from adaptkit.training.progress import Progress
from adaptkit.training.regularization import GradualUnfreezing
from adaptkit.training.run_record import check_same_run, run_record
from adaptkit.training.stop import Stop, StopOnSignal, TrainingStopped
from adaptkit.training.trainer import AdapterTrainer, RecipeTrainer
from adaptkit.utils.hardware import peak_memory
from adaptkit.utils.processes import log_main


@dataclass
class TrainOutput:
    """The result of training: `metrics` under Trainer's names, and `history`, the log by step.

    stopped: the signal that ended it early, if one did. A checkpoint was written then, and the
        caller should end soon.
    dead: why it was given up after its first evaluation, see `TrainerOptions.stop_dead_run`.
    """

    metrics: dict[str, float]
    history: list[dict[str, float]] = field(default_factory=list)
    stopped: Stop | None = None
    dead: str = ""


FEW = 8  # rows to find out which metrics a task has


def make_trainer(
    model: Any,
    task: Task,
    train: EncodedSplit,
    validation: EncodedSplit | None,
    tokenizer: PreTrainedTokenizerBase,
    args: TrainingArguments,
    options: TrainerOptions = TrainerOptions(),
    model_init: Callable[..., nn.Module] | None = None,
) -> AdapterTrainer:
    """A Trainer that evaluates with the task's metrics if there are validation rows."""
    callbacks: list[TrainerCallback] = [StopOnBadLoss()]
    if options.progress:
        callbacks.append(Progress(task.best_metric))
    if options.early_stopping_patience:
        if args.eval_strategy == "no":
            raise AdaptkitError(
                "--early_stopping_patience needs evaluations: give --eval_strategy epoch or steps."
            )
        callbacks.append(EarlyStoppingCallback(options.early_stopping_patience))
    if options.gradual_unfreezing:
        callbacks.append(GradualUnfreezing(bare_model(model)))
    if validation is None and (
        args.eval_strategy != "no" or args.eval_on_start or args.load_best_model_at_end
    ):
        raise AdaptkitError(
            "there are no validation rows: eval_strategy='no', and no load_best_model_at_end nor "
            "eval_on_start."
        )
    if args.metric_for_best_model in (None, "loss"):
        args.metric_for_best_model = task.best_metric
    args.greater_is_better = args.metric_for_best_model.removeprefix("eval_") not in LOWER_IS_BETTER
    args.remove_unused_columns, args.label_names = False, ["labels"]
    judge = Judge(task, validation) if validation else None
    stop_dead = StopDeadRun(judge) if judge and options.stop_dead_run else None
    callbacks += [stop_dead] if stop_dead else []
    collate = task.collator(tokenizer)
    trainer = AdapterTrainer(
        model,
        args,
        task=task,
        options=options,
        data_collator=collate,
        train_dataset=Encoded.of(train.encoded) if type(collate) is Pad else train.encoded,
        processing_class=tokenizer,
        callbacks=callbacks,
        model_init=model_init,
        eval_dataset=judge.rows if judge else None,
        compute_metrics=judge,
    )
    trainer.stop_dead = stop_dead
    return trainer


def fit(
    model: nn.Module,
    task: Task,
    train: EncodedSplit,
    validation: EncodedSplit | None,
    tokenizer: PreTrainedTokenizerBase,
    args: TrainingArguments,
    options: TrainerOptions = TrainerOptions(),
) -> TrainOutput:
    """Train an adapter; the model ends with its best epoch, or its last if none is evaluated.

    Args:
        model: from `adapt`; or a transformers model whose own weights are trained.
        train, validation: rows, and their encoding from `Task.encode`.
        args: Trainer's arguments; start from `DEFAULTS` and `machine_defaults()`, with
            `data_defaults(...)` if there are few rows.

    Raises:
        AdaptkitError: the loss is not finite, evaluation is requested without validation rows, or
            `metric_for_best_model` is not one of the task's metrics.
    """
    make: Any = make_preference_trainer if task.compares else make_trainer
    trainer: RecipeTrainer = make(model, task, train, validation, tokenizer, args, options)
    trainer.record = run_record(model, [task], [train], [validation], args, options)
    if validation is not None:
        check_best_metric(model, task, validation, tokenizer, args)
    return run_trainer(trainer)


def check_best_metric(
    model: nn.Module,
    task: Task,
    validation: EncodedSplit,
    tokenizer: PreTrainedTokenizerBase,
    args: TrainingArguments,
) -> None:
    """Check `--metric_for_best_model` on a few rows, before hours of training.

    Raises:
        AdaptkitError: the task has no such metric.
    """
    asked = (args.metric_for_best_model or task.best_metric).removeprefix("eval_")
    known = {"loss", task.best_metric}
    for part in (validation.first(FEW), validation):  # some metrics need rows of every label
        if asked in known:
            return
        known |= task.metrics(
            predict(model, task, part.encoded, tokenizer), part.encoded, part.table
        ).keys()
    if asked not in known:
        written = (
            "It is of written answers, which are judged at the end only."
            if task.generates and asked in task.reported
            else ""
        )
        raise unknown("--metric_for_best_model", asked, known, written)


def run_trainer(trainer: RecipeTrainer) -> TrainOutput:
    """Run a trainer with the requested precision and activation cache.

    SIGTERM, SIGHUP and Ctrl-C stop training after the step, with a checkpoint; the model stays as
    it is then.
    """
    model, args, options = trainer.model, trainer.args, trainer.options
    if args.resume_from_checkpoint and trainer.record is not None:
        for note in check_same_run(Path(args.resume_from_checkpoint), trainer.record):
            log_main(f"note: {note}")
    on_signal, began = StopOnSignal(), time.perf_counter()
    trainer.add_callback(on_signal)
    if trainer.why_not_recorded and args.device.type == "cuda":
        log_main(f"CUDA graphs: not here: {trainer.why_not_recorded}")
    try:
        with (
            precision(args, options).of(model),
            skip_frozen_layers(model, options),
            trainer.task.while_training(bare_model(model)),
            on_signal.listening(),
        ):
            metrics = trainer.train(resume_from_checkpoint=args.resume_from_checkpoint).metrics
    except TrainingStopped:
        seconds = time.perf_counter() - began
        metrics = {"epoch": trainer.state.epoch or 0.0, "train_runtime": round(seconds, 4)}
    metrics |= {
        "train_samples": len(cast(Sized, trainer.train_dataset)),
        "peak_memory_gb": peak_memory(),
    }
    if trainer.graph_count:
        metrics["cuda_graphs"] = trainer.graph_count
    if options.activation_cache is not None:
        metrics["trunk_gb"] = round(options.activation_cache.size / 1e9, 3)
    if isinstance(trainer, AdapterTrainer) and args.train_sampling_strategy == "group_by_length":
        width = trainer.data_collator.width if type(trainer.data_collator) is Pad else int
        lengths = trainer.buckets().lengths
        metrics["padding"] = round(padding_share(lengths, trainer.batches(), width), 4)
    stopped = on_signal.stop_of(trainer.state)
    dead = trainer.stop_dead.found if trainer.stop_dead else ""
    return TrainOutput(metrics, trainer.state.log_history, stopped, dead)


def skip_frozen_layers(model: nn.Module, options: TrainerOptions) -> AbstractContextManager[Any]:
    """Skip a model's frozen layers while the block runs, if an activation cache is requested."""
    if options.activation_cache is None:
        return nullcontext()
    frozen = FrozenLayers(bare_model(model), options.activation_cache)
    frozen.check()
    return frozen


def precision(args: TrainingArguments, options: TrainerOptions) -> Precision:
    """The requested precisions."""
    return Precision(
        torch.bfloat16 if args.bf16 else torch.float16 if args.fp16 else None,
        options.half_base,
        copied=args.n_gpu > 1,
    )
