"""Training: `transformers.Trainer` with the defaults that adapters want, and a subclass only where a seam is missing."""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import peft
import torch
from torch.utils.data import Sampler
from transformers import EarlyStoppingCallback, PreTrainedTokenizerBase, Trainer, TrainerCallback, TrainingArguments

from adaptkit.errors import AdaptkitError
from adaptkit.tasks.base import Task

if TYPE_CHECKING:
    from datasets import Dataset

# Ours where Trainer's own would hurt adapters; every one can be set on the command line.
DEFAULTS: dict[str, Any] = {
    "num_train_epochs": 3,
    "per_device_train_batch_size": 32,
    "per_device_eval_batch_size": 64,
    "warmup_steps": 0.06,  # below 1: a share of all steps
    "weight_decay": 0.01,
    "eval_strategy": "epoch",
    "save_strategy": "epoch",
    "save_total_limit": 1,
    "load_best_model_at_end": True,
    "logging_steps": 10,
    "logging_nan_inf_filter": False,  # a bad step is to be seen
    "train_sampling_strategy": "group_by_length",
    "ddp_find_unused_parameters": False,
    "report_to": "none",
}


def machine_defaults() -> dict[str, Any]:
    """bf16 where the machine computes in it; the CPU where there is nothing else."""
    if torch.cuda.is_available():
        return {"bf16": torch.cuda.is_bf16_supported()}
    if torch.backends.mps.is_available():
        return {}
    able = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return {"use_cpu": True, "bf16": bool(able.get("avx512_bf16") or able.get("amx_bf16"))}


def small_data_defaults(rows: int, steps: int = 300) -> dict[str, int]:
    """With few rows, smaller batches and enough epochs for some hundred steps; nothing when there are rows enough."""
    if rows >= steps * DEFAULTS["per_device_train_batch_size"] / DEFAULTS["num_train_epochs"]:
        return {}
    batch = 8 if rows < 1000 else 16
    return {"per_device_train_batch_size": batch, "num_train_epochs": min(15, max(3, round(steps * batch / rows)))}


def fast_attention(args: TrainingArguments) -> str | None:
    """The attention to train with, or None for the model's own choice.

    On a CPU in bf16 the backward pass of the fused attention takes about half of a step at short lengths; the plain one does not.
    """
    return "eager" if args.use_cpu and args.bf16 else None


class LengthBuckets(Sampler[int]):
    """Rows in batches of like lengths, the batches in random order; the same on every process.

    Args:
        lengths: tokens of each row.
        batch_size: rows in one optimizer step over all processes, so that the order does not depend on their number.
        seed: of the order; each epoch has its own.
        pool: how many batches are sorted together: more means less padding and less chance.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int, pool: int = 50):
        self.lengths = np.asarray(lengths)
        self.batch_size = batch_size
        self.seed = seed
        self.pool = pool
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        generator = np.random.default_rng((self.seed, self.epoch))
        order = generator.permutation(len(self.lengths))
        step = self.batch_size * max(1, min(self.pool, len(order) // (4 * self.batch_size)))
        pools = [order[i : i + step] for i in range(0, len(order), step)]
        order = np.concatenate([pool[np.argsort(self.lengths[pool], kind="stable")] for pool in pools])
        batches = [order[i : i + self.batch_size] for i in range(0, len(order), self.batch_size)]
        short = batches.pop() if len(batches[-1]) < self.batch_size else None  # an incomplete batch must come last
        generator.shuffle(batches)
        return iter(np.concatenate([*batches, short] if short is not None else batches).tolist())


def padding_share(sampler: LengthBuckets, batch_size: int) -> float:
    """The share of the tokens of one epoch that are padding, in batches of `batch_size` rows."""
    ordered = sampler.lengths[list(sampler)]
    batches = [ordered[i : i + batch_size] for i in range(0, len(ordered), batch_size)]
    return 1 - ordered.sum() / sum(len(batch) * batch.max() for batch in batches)


class AdapterTrainer(Trainer):
    """Trainer with length buckets that do not depend on the number of processes, and checkpoints that ask no network."""

    def _get_train_sampler(self, train_dataset=None):
        if self.args.train_sampling_strategy != "group_by_length":
            return super()._get_train_sampler(train_dataset)
        return self.buckets()

    def buckets(self) -> LengthBuckets:
        """The order in which the rows are trained on."""
        args = self.args
        step = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
        seed = args.seed if args.data_seed is None else args.data_seed
        return LengthBuckets(list(self.train_dataset["length"]), step, seed)

    def _save(self, output_dir: str | None = None, state_dict=None):
        folder = output_dir or self.args.output_dir
        self.model.save_pretrained(folder, state_dict=state_dict, save_embedding_layers=False)
        self.processing_class.save_pretrained(folder)


class _StopOnBadLoss(TrainerCallback):
    """A loss that is not a number never comes back: stop and say so."""

    def on_log(self, args, state, control, logs=None, **kwargs):
        loss = (logs or {}).get("loss")
        if loss is not None and not np.isfinite(loss):
            raise AdaptkitError(
                f"the training loss is {loss} at step {state.global_step}: lower --learning_rate, now {args.learning_rate}, "
                "or train with --bf16 false."
            )


@dataclass
class Fit:
    """What training gave. `metrics` has Trainer's names; `history` is the log by step."""

    metrics: dict[str, float]
    history: list[dict[str, float]] = field(default_factory=list)


def fit(
    model: peft.PeftModel,
    task: Task,
    train: Dataset,
    validation: Dataset,
    tokenizer: PreTrainedTokenizerBase,
    args: TrainingArguments,
    early_stopping_patience: int = 0,
) -> Fit:
    """Train an adapter; at the end the model holds its best epoch.

    Args:
        model: from `adapt`.
        train, validation: from `Task.encode`.
        args: Trainer's; start from `DEFAULTS` and `machine_defaults()`.
        early_stopping_patience: stop after so many evaluations without a better one; 0 for never.

    Raises:
        AdaptkitError: the loss is not a number.
    """
    callbacks: list[TrainerCallback] = [_StopOnBadLoss()]
    if early_stopping_patience:
        callbacks.append(EarlyStoppingCallback(early_stopping_patience))
    args.metric_for_best_model = args.metric_for_best_model or task.best_metric
    args.label_names = args.label_names or ["labels"]
    trainer = AdapterTrainer(
        model,
        args,
        data_collator=task.collator(tokenizer),
        train_dataset=train,
        eval_dataset=validation,
        processing_class=tokenizer,
        compute_metrics=lambda result: task.metrics(result.predictions, result.label_ids),
        preprocess_logits_for_metrics=lambda logits, _: logits[0] if isinstance(logits, tuple) else logits,
        callbacks=callbacks,
    )
    # Trainer takes every model with **kwargs for one that divides its loss by the items of the whole step, and divides by neither
    # the accumulated batches nor the processes. Sequence classification does not.
    trainer.model_accepts_loss_kwargs = task.loss_counts_items
    try:
        with _fp32_masters(model, args.bf16 or args.fp16):
            metrics = trainer.train(resume_from_checkpoint=args.resume_from_checkpoint).metrics
    except KeyboardInterrupt:
        metrics = {"epoch": trainer.state.epoch or 0.0}
        print(f"\nstopped at step {trainer.state.global_step}; going on with the adapter as it is", file=sys.stderr)
    metrics |= {"train_samples": len(train), "peak_memory_gb": peak_memory()}
    if args.train_sampling_strategy == "group_by_length":
        metrics["padding"] = round(padding_share(trainer.buckets(), args.train_batch_size), 4)
    return Fit(metrics, trainer.state.log_history)


def peak_memory() -> float:
    """GB that this process has used at most: on the GPU where there is one, else in all."""
    if torch.cuda.is_available():
        return round(torch.cuda.max_memory_allocated() / 1e9, 3)
    unit = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9, 3)


@contextmanager
def _fp32_masters(model: peft.PeftModel, autocast: bool) -> Iterator[None]:
    """What trains is small, and half precision loses small steps: fp32 while autocast computes, afterwards as it was."""
    halves = [p for p in model.parameters() if autocast and p.requires_grad and p.dtype in (torch.float16, torch.bfloat16)]
    dtypes = [parameter.dtype for parameter in halves]
    for parameter in halves:
        parameter.data = parameter.data.float()
    try:
        yield
    finally:
        for parameter, dtype in zip(halves, dtypes, strict=True):
            parameter.data = parameter.data.to(dtype)


def learning_rate(method: str) -> float:
    """The default learning rate of a method: that of its most careful part; 1e-3 for PEFT's own."""
    from adaptkit import methods

    if method.startswith("peft:"):
        return 1e-3
    return min(part.learning_rate for part in methods.parse(method))
