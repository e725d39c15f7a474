"""`transformers.Trainer` with a task's loss; it overrides only what has no hook."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any, cast

import peft
import torch
from torch import nn
from torch.utils.data import DataLoader, SequentialSampler
from transformers import PrinterCallback, ProgressCallback, Trainer

from adaptkit.data.collate import Pad
from adaptkit.data.samplers import LengthBuckets, TokenBatches, batches_of, lengths_of
from adaptkit.models.backbone import bare_model
from adaptkit.models.language.outputs import task_outputs, with_places
from adaptkit.models.language.router import router_loss
from adaptkit.tasks.base import Task
from adaptkit.training.adversarial import on_embeddings
from adaptkit.training.callbacks import StopDeadRun
from adaptkit.training.checkpoints import new_checkpoint
from adaptkit.training.cuda_graphs import StepGraphs, why_not_recorded
from adaptkit.training.last_layer import cut_last_layer
from adaptkit.training.options import TrainerOptions
from adaptkit.training.progress import Progress
from adaptkit.training.regularization import (
    L2SPPenalty,
    head_factors,
    layer_factors,
    lora_plus_factors,
    set_rates,
)
from adaptkit.training.run_record import FILE
from adaptkit.training.zero_grad import quick_zero_grad
from adaptkit.utils.cudnn import attention_for
from adaptkit.utils.json_files import write_json


class RecipeTrainer(Trainer):
    """What every trainer here shares: learning rates, progress, whole checkpoints of adapters."""

    model: Any
    processing_class: Any
    optimizer: Any
    graph_count = 0  # CUDA graphs that were recorded
    why_not_recorded: str | None = None
    stop_dead: StopDeadRun | None = None

    def __init__(self, *args: Any, task: Task, options: TrainerOptions, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.task, self.options = task, options
        self.record: dict[str, Any] | None = None  # for checkpoints
        printed = (c for c in self.callback_handler.callbacks if isinstance(c, Progress))
        self.progress: Progress | None = next(printed, None)
        for theirs in (ProgressCallback, PrinterCallback):  # dictionaries between torn bars
            self.remove_callback(theirs)

    def training_step(self, model, inputs, num_items_in_batch=None):
        loss = self._step(model, inputs, num_items_in_batch)
        if self.progress is not None:
            self.progress.add(loss)
        return loss

    def _step(self, model, inputs, num_items_in_batch):
        return super().training_step(model, inputs, num_items_in_batch)

    def get_decay_parameter_names(self, model):
        """Decay matrices of adapters, but not their scales and biases; else as in Trainer."""
        if not any(isinstance(module, peft.PeftModel) for module in model.modules()):
            return super().get_decay_parameter_names(model)
        return [name for name, parameter in model.named_parameters() if parameter.ndim > 1]

    def create_optimizer(self, model=None):
        optimizer = super().create_optimizer(model)
        if factors := self._rate_factors():
            set_rates(optimizer, factors)
        return optimizer

    def _rate_factors(self) -> dict[int, float]:
        """The factor on the learning rate of each parameter that has one, by its id."""
        model, options = bare_model(self.model), self.options
        decay = options.layerwise_lr_decay
        factors = layer_factors(model, decay) if decay != 1 else {}
        if options.head_learning_rate is not None:
            factors |= head_factors(model, options.head_learning_rate / self.args.learning_rate)
        if options.lora_plus_ratio != 1:
            factors |= lora_plus_factors(model, options.lora_plus_ratio)
        return factors

    def _save_checkpoint(self, model, trial):
        folder = Path(self._get_output_dir(trial=trial)) / f"checkpoint-{self.state.global_step}"
        if not self.args.load_best_model_at_end:
            self.state.best_global_step = None  # else the best one is kept in place of the last
        with new_checkpoint(folder, self.args.should_save):
            super()._save_checkpoint(model, trial)

    def _save_record(self, folder: str | Path) -> None:
        if self.record is not None and self.args.should_save:
            write_json(Path(folder) / FILE, self.record)

    def _save(self, output_dir: str | None = None, state_dict=None):
        if not self.args.should_save:  # transformers calls this in every process
            return
        folder = str(output_dir or self.args.output_dir)
        network = {"save_embedding_layers": False} if isinstance(self.model, peft.PeftModel) else {}
        self.model.save_pretrained(folder, state_dict=state_dict, **network)
        self.processing_class.save_pretrained(folder)
        self._save_record(folder)


class AdapterTrainer(RecipeTrainer):
    """Trainer for a task, which computes the loss and postprocesses the outputs in evaluation.

    The loss is divided by the labels of the whole optimizer step, for any number of accumulated
    batches and processes.
    """

    loss_is_scaled_for_ga = True
    recordable = True  # a training step does the same for every batch of one shape

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.model_accepts_loss_kwargs = True  # count the labels of a step
        self._loss_shifts_labels = False  # labels are -100 where no prediction is scored
        self._counted: nn.Module | None = None
        self._pull = (
            L2SPPenalty(bare_model(self.model)) if self.options.l2_sp else None
        )  # before a checkpoint is loaded into the model
        self.graphs: StepGraphs | None = None  # while training
        self.why_not_recorded = why_not_recorded(self)
        if (
            self.why_not_recorded is None
            and not self.task.reads_padding
            and type(self.data_collator) is Pad
        ):
            self.data_collator = self.data_collator.in_few_shapes(self.train_dataset)

    def _inner_training_loop(self, *args: Any, **kwargs: Any):
        self.graphs = StepGraphs(self.model.parameters()) if self.why_not_recorded is None else None
        try:
            with (
                cut_last_layer(self),
                quick_zero_grad(self.model),
                attention_for(self.buckets().lengths),
            ):
                return super()._inner_training_loop(*args, **kwargs)
        finally:
            self.graph_count = self.graphs.count if self.graphs else 0
            self.graphs = None

    @property
    def in_one_piece(self) -> bool:
        """One whole model on one device for each process, as it was written."""
        sharded = self.is_fsdp_enabled or self.is_deepspeed_enabled
        return not (self.args.n_gpu > 1 or sharded or self.args.torch_compile)

    def _trained(self) -> list[nn.Parameter]:
        return [parameter for group in self.optimizer.param_groups for parameter in group["params"]]

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        labels = inputs["labels"]
        outputs = self._outputs(model, inputs)
        task = self.task_of(inputs)
        training = model.training
        items = _labels_of_step(labels, num_items_in_batch).clamp(
            min=1
        )  # a step may hold no label at all
        smoothing = self.args.label_smoothing_factor if training else 0.0
        loss = task.loss(outputs, inputs, labels, items, smoothing)
        if training and num_items_in_batch is not None and self.args.average_tokens_across_devices:
            loss = (
                loss * self.accelerator.num_processes
            )  # the gradients' mean over processes divides by it again
        if training:
            loss = loss + self._penalties(inputs, outputs) / self.args.gradient_accumulation_steps
        return (loss, outputs) if return_outputs else loss

    def _penalties(self, inputs: dict[str, Any], outputs: Any) -> torch.Tensor | float:
        """What a batch's loss has besides that of its labels."""
        router = router_loss(bare_model(self.model_of(inputs)), outputs)
        pull = 0.0 if self._pull is None else self.options.l2_sp * self._pull()
        return pull if router is None else pull + router

    def task_of(self, inputs: dict[str, Any]) -> Task:
        """The task that a batch belongs to."""
        return self.task

    def model_of(self, inputs: dict[str, Any]) -> Any:
        """The model that a batch goes through."""
        return self.model

    def _outputs(self, model, inputs):
        batch = {key: value for key, value in inputs.items() if key != "labels"}
        labels, whole = inputs["labels"], self.in_one_piece
        return task_outputs(self.task, self.model, batch, labels, model, whole)

    def _step(self, model, inputs, num_items_in_batch):
        if self.graphs is not None and all(
            isinstance(value, torch.Tensor) for value in inputs.values()
        ):
            return self._recorded_step(
                partial(super()._step, model), model, inputs, num_items_in_batch
            )
        if not self.options.adversarial_epsilon:
            return super()._step(model, inputs, num_items_in_batch)
        embeddings = bare_model(self.model).get_input_embeddings()
        with on_embeddings(embeddings, self.options.adversarial_epsilon) as attack:
            loss = super()._step(model, dict(inputs), num_items_in_batch)
            attack.apply()
            super()._step(model, inputs, num_items_in_batch)
        return loss

    def _recorded_step(self, step, model, inputs, num_items_in_batch):
        """Run a training step by a graph.

        A graph does not switch model and optimizer to training mode, and an evaluation may come
        before it.
        """
        if not model.training:
            model.train()
        if hasattr(self.optimizer, "train"):  # for optimizers without a schedule
            self.optimizer.train()
        inputs = self._prepare_inputs(with_places(self.task, inputs))
        items = _labels_of_step(inputs["labels"], num_items_in_batch)
        return self.graphs.step(step, inputs, items.to(inputs["labels"].device))

    def prediction_step(self, model, inputs, prediction_loss_only, ignore_keys=None):
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad(), self.compute_loss_context_manager():
            loss, outputs = self.compute_loss(model, inputs, return_outputs=True)
            kept = self.task.postprocess(outputs, inputs, inputs["labels"])
        return loss.detach(), kept, inputs["labels"]

    def outcome(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """The loss of a batch, before training has prepared the model."""
        with self.accelerator.autocast():
            return self.compute_loss(self.model, self._prepare_inputs(dict(batch)))

    def floating_point_ops(self, inputs):
        """6 operations per parameter and token as in Trainer; parameters are counted only once."""
        if self._counted is not self.model:
            self._counted, self._parameters = (
                self.model,
                bare_model(self.model).num_parameters(exclude_embeddings=True),
            )
        return 6 * self._parameters * inputs["input_ids"].numel() if "input_ids" in inputs else 0

    def _clip_grad_norm(self, model):
        """Clip as in Trainer, but skip the many frozen parameters."""
        if self.is_fsdp_enabled or self.is_deepspeed_enabled:
            return super()._clip_grad_norm(model)
        return self.accelerator.clip_grad_norm_(self._trained(), self.args.max_grad_norm)

    def _get_train_sampler(self, train_dataset=None):
        if self.args.train_sampling_strategy != "group_by_length":
            return super()._get_train_sampler(train_dataset)
        return self.buckets()

    def get_train_dataloader(self):
        if self.options.max_tokens_per_batch is None:
            return super().get_train_dataloader()
        args = self.args
        loader = DataLoader(
            cast(Any, self.train_dataset),
            batch_sampler=self.token_batches(),
            collate_fn=self._get_collator_with_removed_columns(self.data_collator, "training"),
            num_workers=args.dataloader_num_workers,
            pin_memory=args.dataloader_pin_memory,
        )
        return self.accelerator.prepare(loader)

    def token_batches(self) -> TokenBatches:
        """The batches of the training rows, if they have a budget of tokens."""
        most = self.options.max_tokens_per_batch
        assert most is not None
        return TokenBatches(lengths_of(self.train_dataset), most, self._data_seed)

    @property
    def _data_seed(self) -> int:
        return self.args.seed if self.args.data_seed is None else self.args.data_seed

    def batches(self) -> Iterable[list[int]]:
        """The rows of each batch of one epoch of one process."""
        if self.options.max_tokens_per_batch is not None:
            return self.token_batches()
        return batches_of(self.buckets(), self.args.train_batch_size)

    def _get_eval_sampler(self, eval_dataset):
        return (
            SequentialSampler(eval_dataset) if self.args.world_size <= 1 else None
        )  # `fit` has sorted the rows

    def buckets(self) -> LengthBuckets:
        """The order of the training rows."""
        args = self.args
        step = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
        return LengthBuckets(lengths_of(self.train_dataset), step, self._data_seed)


def _labels_of_step(labels: torch.Tensor, counted: torch.Tensor | int | None) -> torch.Tensor:
    """The number of labels in an optimizer step, from Trainer's count or from its single batch."""
    return (labels != -100).sum() if counted is None else torch.as_tensor(counted)
