"""Training: from a model and rows to a trained adapter."""

from __future__ import annotations

import json
import re
import resource
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import EarlyStoppingCallback, PreTrainedTokenizerBase, TrainerCallback, TrainingArguments

from adaptkit.encoded import Encoded
from adaptkit.errors import AdaptkitError, unknown
from adaptkit.launch import say
from adaptkit.precision import Precision
from adaptkit.predict import predict
from adaptkit.sampling import lengths_of, padding_share
from adaptkit.tasks.base import Task
from adaptkit.tasks.collate import Pad
from adaptkit.trainer import AdapterTrainer, Extras, Part, StopOnBadLoss, bare_model
from adaptkit.transfer.careful import GradualUnfreezing
from adaptkit.trunk import Trunk


@dataclass
class Fit:
    """What training gave. `metrics` has Trainer's names; `history` is the log by step."""

    metrics: dict[str, float]
    history: list[dict[str, float]] = field(default_factory=list)


LOWER_IS_BETTER = ("loss", "perplexity", "mae", "rmse")
FEW = 8  # rows that tell which metrics a task has


def make_trainer(
    model: nn.Module | None,
    task: Task,
    train: Part,
    validation: Part | None,
    tokenizer: PreTrainedTokenizerBase,
    args: TrainingArguments,
    extras: Extras = Extras(),
    model_init: Callable[..., nn.Module] | None = None,
) -> AdapterTrainer:
    """A Trainer that judges epochs by the task's metrics on the validation rows, where there are any."""
    callbacks: list[TrainerCallback] = [StopOnBadLoss()]
    if extras.early_stopping_patience:
        if args.eval_strategy == "no":
            raise AdaptkitError("--early_stopping_patience needs evaluations: give --eval_strategy epoch or steps.")
        callbacks.append(EarlyStoppingCallback(extras.early_stopping_patience))
    if extras.gradual_unfreezing:
        callbacks.append(GradualUnfreezing(bare_model(model)))
    if validation is None and (args.eval_strategy != "no" or args.eval_on_start or args.load_best_model_at_end):
        raise AdaptkitError("there are no validation rows: eval_strategy='no', and no load_best_model_at_end nor eval_on_start.")
    if args.metric_for_best_model in (None, "loss"):
        args.metric_for_best_model = task.best_metric
    args.greater_is_better = args.metric_for_best_model.removeprefix("eval_") not in LOWER_IS_BETTER
    args.remove_unused_columns, args.label_names = False, ["labels"]
    judged = evaluation(task, validation) if validation else {}
    collate = task.collator(tokenizer)
    return AdapterTrainer(
        model,
        args,
        task=task,
        extras=extras,
        data_collator=collate,
        train_dataset=Encoded.of(train.encoded) if type(collate) is Pad else train.encoded,
        processing_class=tokenizer,
        callbacks=callbacks,
        model_init=model_init,
        **judged,
    )


def evaluation(task: Task, validation: Part) -> dict[str, Any]:
    """What Trainer evaluates, in the order of length, and how."""
    order = np.argsort(lengths_of(validation.encoded), kind="stable")
    back = np.argsort(order, kind="stable")
    return {
        "eval_dataset": validation.encoded.select(order),
        "compute_metrics": lambda result: task.metrics(result.predictions[back], validation.encoded, validation.table),
    }


def fit(
    model: nn.Module,
    task: Task,
    train: Part,
    validation: Part | None,
    tokenizer: PreTrainedTokenizerBase,
    args: TrainingArguments,
    extras: Extras = Extras(),
) -> Fit:
    """Train an adapter; at the end the model holds its best epoch, or its last where none is judged.

    Args:
        model: from `adapt`; or a transformers model whose own weights are trained.
        train, validation: rows, and what `Task.encode` made of them.
        args: Trainer's; start from `DEFAULTS` and `machine_defaults()`, with `data_defaults(...)` where rows are few.

    Raises:
        AdaptkitError: the loss is not a number, an evaluation is asked for and there are no validation rows, or
            `metric_for_best_model` is none of the task's metrics.
    """
    trainer = make_trainer(model, task, train, validation, tokenizer, args, extras)
    if validation is not None:
        check_best_metric(model, task, validation, tokenizer, args)
    return drive(trainer)


def check_best_metric(
    model: nn.Module, task: Task, validation: Part, tokenizer: PreTrainedTokenizerBase, args: TrainingArguments
) -> None:
    """Refuse a `--metric_for_best_model` that evaluations do not give, before hours are spent: a few rows tell.

    Raises:
        AdaptkitError: there is no such metric.
    """
    asked = (args.metric_for_best_model or task.best_metric).removeprefix("eval_")
    known = {"loss", task.best_metric}
    for part in (validation.first(FEW), validation):  # some metrics want rows of every kind
        if asked in known:
            return
        known |= task.metrics(predict(model, task, part.encoded, tokenizer), part.encoded, part.table).keys()
    if asked not in known:
        written = "It is of written answers, which are judged at the end only." if task.generates and asked in task.reported else ""
        raise unknown("--metric_for_best_model", asked, known, written)


def drive(trainer: AdapterTrainer) -> Fit:
    """Let a trainer train, in the precision and from the trunk that are asked for. Ctrl-C stops it and keeps what it has."""
    model, args, extras = trainer.model, trainer.args, trainer.extras
    if trainer.why_not_recorded and args.device.type == "cuda":
        say(f"CUDA graphs: not here: {trainer.why_not_recorded}")
    try:
        with precision(args, extras).of(model), frozen_trunk(model, extras), trainer.task.while_training(bare_model(model)):
            metrics = trainer.train(resume_from_checkpoint=args.resume_from_checkpoint).metrics
    except KeyboardInterrupt:
        metrics = {"epoch": trainer.state.epoch or 0.0}
        print(f"\nstopped at step {trainer.state.global_step}; going on with the adapter as it is", file=sys.stderr)
    metrics |= {"train_samples": len(trainer.train_dataset), "peak_memory_gb": peak_memory()}
    if trainer.graph_count:
        metrics["cuda_graphs"] = trainer.graph_count
    if extras.kept is not None:
        metrics["trunk_gb"] = round(extras.kept.size / 1e9, 3)
    if args.train_sampling_strategy == "group_by_length":
        width = trainer.data_collator.width if type(trainer.data_collator) is Pad else int
        metrics["padding"] = round(padding_share(trainer.buckets(), args.train_batch_size, width), 4)
    return Fit(metrics, trainer.state.log_history)


def frozen_trunk(model: nn.Module, extras: Extras) -> AbstractContextManager[Any]:
    """The trunk of a model, in place while the block runs."""
    if extras.kept is None:
        return nullcontext()
    trunk = Trunk(bare_model(model), extras.kept)
    trunk.check()
    return trunk


def precision(args: TrainingArguments, extras: Extras) -> Precision:
    """The precisions that are asked for."""
    return Precision(torch.bfloat16 if args.bf16 else torch.float16 if args.fp16 else None, extras.half_base, copied=args.n_gpu > 1)


def last_whole_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that was written to its end: Trainer writes its state last."""
    steps = sorted(
        (int(match[1]), path) for path in folder.glob("checkpoint-*") if (match := re.fullmatch(r"checkpoint-(\d+)", path.name))
    )
    for _, path in reversed(steps):
        try:
            json.loads((path / "trainer_state.json").read_text("utf-8"))
        except (OSError, ValueError):
            continue
        return path
    return None


def peak_memory() -> float:
    """GB that this process has held at most: of the GPU where it uses one, else in all."""
    if torch.cuda.is_available() and torch.cuda.max_memory_reserved():
        return round(torch.cuda.max_memory_reserved() / 1e9, 3)
    unit = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9, 3)
