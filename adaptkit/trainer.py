"""The Trainer: `transformers.Trainer` with a task's loss, and overrides only where a seam is missing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import peft
import torch
from torch import nn
from torch.utils.data import SequentialSampler
from transformers import Trainer, TrainerCallback

from adaptkit.adversarial import on_embeddings
from adaptkit.cudnn import attention_for
from adaptkit.errors import AdaptkitError
from adaptkit.graphs import StepGraphs
from adaptkit.kept import Kept
from adaptkit.last_layer import LastLayer
from adaptkit.sampling import LengthBuckets, lengths_of
from adaptkit.tables import Table
from adaptkit.tasks.base import Task
from adaptkit.tasks.collate import Pad
from adaptkit.transfer.careful import PullBack, set_rates

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True)
class Part:
    """A split, as rows and as the model reads it (from `Task.encode`)."""

    table: Table
    encoded: Dataset

    def first(self, count: int) -> Part:
        """The first encoded rows, and the rows that they belong to: a long text may be several."""
        encoded = self.encoded.select(range(min(count, len(self.encoded))))
        owners = encoded["_row"] if "_row" in encoded.column_names else range(min(len(encoded), len(self.table)))
        return Part(self.table.take(range(max(owners) + 1)), encoded)


@dataclass(frozen=True)
class Extras:
    """What Trainer has no flag for.

    early_stopping_patience: stop after so many evaluations without a better one; 0 for never.
    adversarial_epsilon: train on embeddings moved by so much against the loss, too (FGM, Miyato et al. 2017); 0 for not.
    half_base: while training in bf16, keep a frozen base in bf16 too.
    kept: run the frozen layers below all that trains once a text, and keep there what they give (`adaptkit.trunk`); None: not.
    cut_last_layer: run the last layer behind its attention for the one token that the head reads (`adaptkit.last_layer`).
    cuda_graphs: on one GPU, record a training step for each shape of batch and replay it (`adaptkit.graphs`), where that can be.
    layerwise_lr_decay, l2_sp, gradual_unfreezing: for a model's own weights, see `adaptkit.transfer.careful`; 1, 0, False: not.
    """

    early_stopping_patience: int = 0
    adversarial_epsilon: float = 0.0
    half_base: bool = True
    kept: Kept | None = None
    cut_last_layer: bool = True
    cuda_graphs: bool = True
    layerwise_lr_decay: float = 1.0
    l2_sp: float = 0.0
    gradual_unfreezing: bool = False


class AdapterTrainer(Trainer):
    """Trainer for a task. The task computes the loss, so that it is divided by the labels of the whole optimizer step, whatever
    the number of accumulated batches and processes; and it says what evaluation keeps of the outputs."""

    loss_is_scaled_for_ga = True
    recordable = True  # a training step does the same for every batch of one shape

    def __init__(self, *args: Any, task: Task, extras: Extras, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.task, self.extras = task, extras
        self.model_accepts_loss_kwargs = True  # count the labels of a step
        self._loss_shifts_labels = False  # ours are -100 where nothing is foretold
        self._counted: nn.Module | None = None
        self._pull = PullBack(bare_model(self.model)) if extras.l2_sp else None  # before a checkpoint is loaded into the model
        self.graphs: StepGraphs | None = None  # while training
        self.graph_count = 0
        self.why_not_recorded = why_not_recorded(self)
        if self.why_not_recorded is None and not task.reads_padding and type(self.data_collator) is Pad:
            self.data_collator = self.data_collator.in_few_shapes(self.train_dataset)

    def get_decay_parameter_names(self, model):
        """In adapters matrices decay, factors and biases do not, wherever they lie; for a model's own weights Trainer decides."""
        if not any(isinstance(module, peft.PeftModel) for module in model.modules()):
            return super().get_decay_parameter_names(model)
        return [name for name, parameter in model.named_parameters() if parameter.ndim > 1]

    def create_optimizer(self, model=None):
        optimizer = super().create_optimizer(model)
        if self.extras.layerwise_lr_decay != 1:
            set_rates(optimizer, bare_model(self.model), self.extras.layerwise_lr_decay)
        return optimizer

    def _inner_training_loop(self, *args: Any, **kwargs: Any):
        self.graphs = StepGraphs(self.model.parameters()) if self.why_not_recorded is None else None
        try:
            with last_layer(self), quick_zero_grad(self.model), attention_for(self.buckets().lengths):
                return super()._inner_training_loop(*args, **kwargs)
        finally:
            self.graph_count = self.graphs.count if self.graphs else 0
            self.graphs = None

    def _trained(self) -> list[nn.Parameter]:
        return [parameter for group in self.optimizer.param_groups for parameter in group["params"]]

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        labels = inputs["labels"]
        outputs = self._outputs(model, inputs)
        task = self.task_of(inputs)
        training = model.training
        items = _labels_of_step(labels, num_items_in_batch).clamp(min=1)  # a step may hold no label at all
        smoothing = self.args.label_smoothing_factor if training else 0.0
        loss = task.loss(outputs, inputs, labels, items, smoothing)
        if training and num_items_in_batch is not None and self.args.average_tokens_across_devices:
            loss = loss * self.accelerator.num_processes  # the gradients' mean over processes divides by it again
        if training and self._pull is not None:
            loss = loss + self.extras.l2_sp * self._pull() / self.args.gradient_accumulation_steps
        return (loss, outputs) if return_outputs else loss

    def task_of(self, inputs: dict[str, Any]) -> Task:
        """The task that a batch belongs to."""
        return self.task

    def _outputs(self, model, inputs):
        batch = {key: value for key, value in inputs.items() if key != "labels"}
        return model(**self.task.feed(bare_model(self.model), batch, inputs["labels"]))

    def training_step(self, model, inputs, num_items_in_batch=None):
        if self.graphs is not None and all(isinstance(value, torch.Tensor) for value in inputs.values()):
            return self._recorded_step(partial(super().training_step, model), model, inputs, num_items_in_batch)
        if not self.extras.adversarial_epsilon:
            return super().training_step(model, inputs, num_items_in_batch)
        embeddings = bare_model(self.model).get_input_embeddings()
        with on_embeddings(embeddings, self.extras.adversarial_epsilon) as attack:
            loss = super().training_step(model, dict(inputs), num_items_in_batch)
            attack.strike()
            super().training_step(model, inputs, num_items_in_batch)
        return loss

    def _recorded_step(self, step, model, inputs, num_items_in_batch):
        """A training step by a graph, which does not switch model and optimizer to training: an evaluation may lie before it."""
        if not model.training:
            model.train()
        if hasattr(self.optimizer, "train"):  # of optimizers without a schedule
            self.optimizer.train()
        inputs = self._prepare_inputs(inputs)
        items = _labels_of_step(inputs["labels"], num_items_in_batch)
        return self.graphs.step(step, inputs, items.to(inputs["labels"].device))

    def prediction_step(self, model, inputs, prediction_loss_only, ignore_keys=None):
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad(), self.compute_loss_context_manager():
            loss, outputs = self.compute_loss(model, inputs, return_outputs=True)
            kept = self.task.reduce(outputs, inputs, inputs["labels"])
        return loss.detach(), kept, inputs["labels"]

    def outcome(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """The loss of a batch, before training has prepared the model."""
        with self.accelerator.autocast():
            return self.compute_loss(self.model, self._prepare_inputs(dict(batch)))

    def floating_point_ops(self, inputs):
        """As in Trainer, 6 operations a parameter and token; the parameters are counted once and not at every step."""
        if self._counted is not self.model:
            self._counted, self._parameters = self.model, bare_model(self.model).num_parameters(exclude_embeddings=True)
        return 6 * self._parameters * inputs["input_ids"].numel() if "input_ids" in inputs else 0

    def _clip_grad_norm(self, model):
        """As in Trainer, without looking for gradients of what is frozen, of which there are many times more."""
        if self.is_fsdp_enabled or self.is_deepspeed_enabled:
            return super()._clip_grad_norm(model)
        return self.accelerator.clip_grad_norm_(self._trained(), self.args.max_grad_norm)

    def _get_train_sampler(self, train_dataset=None):
        if self.args.train_sampling_strategy != "group_by_length":
            return super()._get_train_sampler(train_dataset)
        return self.buckets()

    def _get_eval_sampler(self, eval_dataset):
        return SequentialSampler(eval_dataset) if self.args.world_size <= 1 else None  # `fit` has sorted the rows

    def buckets(self) -> LengthBuckets:
        """The order in which the rows are trained on."""
        args = self.args
        step = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
        seed = args.seed if args.data_seed is None else args.data_seed
        return LengthBuckets(lengths_of(self.train_dataset), step, seed)

    def _save(self, output_dir: str | None = None, state_dict=None):
        folder = output_dir or self.args.output_dir
        network = {"save_embedding_layers": False} if isinstance(self.model, peft.PeftModel) else {}
        self.model.save_pretrained(folder, state_dict=state_dict, **network)
        self.processing_class.save_pretrained(folder)


def _labels_of_step(labels: torch.Tensor, counted: torch.Tensor | int | None) -> torch.Tensor:
    """How many labels an optimizer step holds: as Trainer has counted them, or those of the one batch."""
    return (labels != -100).sum() if counted is None else torch.as_tensor(counted)


class StopOnBadLoss(TrainerCallback):
    """A loss that is not a number never comes back: stop and say so."""

    def on_log(self, args, state, control, logs=None, **kwargs):
        loss = (logs or {}).get("loss")
        if loss is not None and not np.isfinite(loss):
            raise AdaptkitError(
                f"the training loss is {loss} at step {state.global_step}: lower --learning_rate, now {args.learning_rate}, "
                "or train with --bf16 false."
            )


class ZeroGrad:
    """Stands in for the `zero_grad` of a model: the same, without walking over its modules at every step."""

    def __init__(self, model: nn.Module):
        self.zero_grad, self.parameters = model.zero_grad, list(model.parameters())

    def __call__(self, set_to_none: bool = True) -> None:
        if not set_to_none:
            return self.zero_grad(set_to_none=False)
        for parameter in self.parameters:
            parameter.grad = None


@contextmanager
def quick_zero_grad(model: nn.Module) -> Iterator[None]:
    """The model with that `zero_grad` while the block runs."""
    model.zero_grad = ZeroGrad(model)
    try:
        yield
    finally:
        del model.zero_grad


def bare_model(model: nn.Module) -> Any:
    """The transformers model, without PEFT's wrapping."""
    return model.get_base_model() if isinstance(model, peft.PeftModel) else model


LAYERDROP = ("layerdrop", "encoder_layerdrop", "decoder_layerdrop")


def why_not_recorded(trainer: AdapterTrainer) -> str | None:
    """What keeps the steps of a training from being recorded as CUDA graphs, if anything."""
    args, extras, config = trainer.args, trainer.extras, getattr(trainer.model, "config", None)
    reasons = {
        "it was not asked for": not extras.cuda_graphs,
        "there is no GPU": args.device.type != "cuda",
        "several processes or GPUs share a step": args.world_size > 1 or args.n_gpu > 1,
        "FSDP or DeepSpeed drives the step": trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled,
        "the model is compiled": args.torch_compile,
        "fp16 scales the loss": args.fp16,
        "gradient checkpoints keep the state of random numbers": args.gradient_checkpointing,
        "memory is given back between steps": args.torch_empty_cache_steps is not None,
        "the model lies on several devices": trainer.is_model_parallel,
        "the optimizer steps in the backward pass": "lomo" in args.optim or "layerwise" in args.optim,
        "layers are left out by chance": any(getattr(config, name, 0) for name in LAYERDROP),
        "the frozen trunk looks texts up": extras.kept is not None,
        "a step is two, one of them against the loss": extras.adversarial_epsilon > 0,
        "what trains changes with the epoch": extras.gradual_unfreezing,
        "two lengths make too many shapes": getattr(config, "is_encoder_decoder", False),
        "the base is quantized": getattr(config, "quantization_config", None) is not None,
        "batches of one shape are not all trained on alike": not (trainer.recordable and trainer.task.recordable),
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


def last_layer(trainer: AdapterTrainer) -> AbstractContextManager[Any]:
    """The last layer of the trainer's model, cut while the block runs, where the task's loss reads one token of each row."""
    model, rows = bare_model(trainer.model), trainer.train_dataset
    args = trainer.args
    spread = args.n_gpu > 1 or trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled  # one process, one whole model on one device
    if not trainer.extras.cut_last_layer or args.torch_compile or spread or model.config.is_encoder_decoder:
        return nullcontext()
    by_length = np.argsort(lengths_of(rows), kind="stable")
    batch = trainer.data_collator([rows[int(by_length[i])] for i in {0, len(rows) // 2, len(rows) - 1}])
    if "input_ids" not in batch:
        return nullcontext()
    training = model.training
    trainer.model.eval()
    try:
        cut = LastLayer(model)
        return cut if cut.find(lambda: trainer.outcome(batch), batch["input_ids"]) else nullcontext()
    except AdaptkitError:
        return nullcontext()
    finally:
        trainer.model.train(training)
