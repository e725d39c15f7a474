"""Many tasks at once: models of several tasks that hold one base, and one adapter where it is
shared, trained in turns.

A step belongs to one task, so its loss, its batches and its padding are those of the task alone;
`TaskBuckets` says which step is
whose. The models stay ordinary ones: only their tensors are the same, so each is saved, loaded and
served like any other.

How much a task's loss counts:
    fixed         as given
    uncertainty   exp(-s) loss + s / 2, the s of each task learned (Kendall et al. 2018, arXiv:1705.07115)
    balanced      so that the gradients of all tasks at the shared adapter are about equally long (the idea of GradNorm, Chen et al.
                  2018, arXiv:1711.02257, without its rates)
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import ConcatDataset
from transformers import Trainer

from adaptkit.data.samplers import TaskBuckets, lengths_of
from adaptkit.errors import AdaptkitError
from adaptkit.inference.predict import predict
from adaptkit.models.backbone import backbone_of, bare_model
from adaptkit.tasks.base import Task
from adaptkit.training.callbacks import StopOnBadLoss
from adaptkit.training.options import EncodedSplit
from adaptkit.training.progress import Progress
from adaptkit.training.trainer import AdapterTrainer

WEIGHTINGS = ("fixed", "uncertainty", "balanced")

MEMORY = 0.9  # of the running mean of gradient lengths


@dataclass
class Job:
    """One of the tasks: its model (from `adapt`), its rows, and how much its loss counts."""

    name: str
    model: Any
    task: Task
    train: EncodedSplit
    validation: EncodedSplit | None
    tokenizer: Any
    weight: float = 1.0


def share_tensors(models: Sequence[nn.Module], adapter: bool = True) -> None:
    """Let models of one base hold one set of tensors: the base's, and with `adapter` the adapter's.
    Heads stay their own.

    Raises:
        AdaptkitError: the models are not of one base, or not of one method. They may then share a
            part.
    """
    held: dict[str, nn.Parameter] = {}
    for model in models:
        for name, owner, key in _places(model):
            parameter = owner._parameters[key]
            assert parameter is not None  # `_places` names no others
            if parameter.requires_grad and (not adapter or "modules_to_save" in name):
                continue
            kept = held.setdefault(name, parameter)
            if kept.shape != parameter.shape or kept.requires_grad != parameter.requires_grad:
                raise AdaptkitError(
                    f"tasks that are learned together want one base and one method; {name} differs."
                )
            owner._parameters[key] = kept


def _places(model: nn.Module) -> Iterator[tuple[str, nn.Module, str]]:
    """The parameters of a model's backbone: name inside it, the module that holds it, its name
    there.
    """
    backbone, _ = backbone_of(bare_model(model))
    for path, module in backbone.named_modules():
        for key, parameter in list(module._parameters.items()):
            if parameter is not None:
                yield f"{path}.{key}", module, key


class ManyTasks(nn.Module):
    """The models of all tasks, as one for the Trainer.

    Its state is what trains, each tensor once.
    """

    lengths: Tensor  # running means of gradient lengths, (tasks,); 0: not known yet

    def __init__(self, models: Sequence[Any], names: Sequence[str]):
        super().__init__()
        self.models = nn.ModuleList(models)
        self.names = list(names)
        self.config = models[0].config  # Trainer asks for one
        self.log_variances = nn.Parameter(torch.zeros(len(models)), requires_grad=False)
        self.register_buffer("lengths", torch.zeros(len(models)))

    def forward(self, job: int, **inputs: Any) -> tuple[Any, Tensor]:
        """What the model of a task says, and the logarithm of the variance of its loss."""
        return self.models[job](**inputs), self.log_variances[job]

    def shared(self) -> list[nn.Parameter]:
        """What trains and belongs to all models."""
        trained = [
            {id(p): p for p in model.parameters() if p.requires_grad} for model in self.models
        ]
        return [p for key, p in trained[0].items() if all(key in one for one in trained[1:])]

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:  # type: ignore[override]
        # Optimizer states and weights go by the tasks' places: a key that names them keeps out
        # other tasks, and another order.
        found: dict[str, Tensor] = {
            f"tasks: {', '.join(self.names)}": torch.zeros(1),
            "lengths": self.lengths,
        }
        return found | {name: p.data for name, p in self.named_parameters() if p.requires_grad}

    @torch.no_grad()
    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> Any:
        mine = self.state_dict()
        shapes = [
            {name: tuple(tensor.shape) for name, tensor in one.items()}
            for one in (mine, state_dict)
        ]
        if strange := sorted(name for name, _ in shapes[0].items() ^ shapes[1].items()):
            strange = list(dict.fromkeys(strange))
            what = "other tasks, in another order, or another method"
            raise AdaptkitError(f"this checkpoint is of {what}: {'; '.join(strange[:5])}.")
        for name, tensor in mine.items():
            tensor.copy_(state_dict[name])
        return nn.modules.module._IncompatibleKeys([], [])


@dataclass(frozen=True)
class Collate:
    """Batches of rows of one task; `job` says of which."""

    collators: list[Any]

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Tensor]:
        job = rows[0]["_job"]
        return self.collators[job](rows) | {"job": torch.tensor(job)}


class ManyTasksTrainer(AdapterTrainer):
    """Trains all tasks. The best epoch is the one with the highest mean of the tasks' best metrics,
    `eval_score`; a perplexity counts as its inverse. With too few validation rows in one of them
    the last epoch is kept.
    """

    recordable = False  # it reads which task a batch is of

    def __init__(
        self,
        jobs: list[Job],
        args: Any,
        options: Any,
        temperature: float = 1.0,
        weighting: str = "fixed",
        **kwargs: Any,
    ):
        self.jobs, self.weighting = jobs, weighting
        many = ManyTasks([job.model for job in jobs], [job.name for job in jobs])
        many.log_variances.requires_grad_(weighting == "uncertainty")
        self._shared = many.shared() if weighting == "balanced" else []
        if weighting == "balanced" and not self._shared:
            raise AdaptkitError(
                "balanced task weights look at a shared adapter, and here each task has its own."
            )
        rows = [
            job.train.encoded.add_column("_job", [i] * len(job.train.encoded))
            for i, job in enumerate(jobs)
        ]
        self._sampler = TaskBuckets(
            [lengths_of(one) for one in rows],
            args.train_batch_size * args.gradient_accumulation_steps * args.world_size,
            args.seed if args.data_seed is None else args.data_seed,
            temperature,
        )
        args.metric_for_best_model, args.greater_is_better = "score", True
        args.remove_unused_columns, args.label_names = False, ["labels"]
        args.ddp_find_unused_parameters = True  # the heads of the other tasks
        super().__init__(
            many,
            args,
            task=jobs[0].task,
            options=options,
            data_collator=Collate([job.task.collator(job.tokenizer) for job in jobs]),
            train_dataset=ConcatDataset(rows),
            eval_dataset=next((job.validation.encoded for job in jobs if job.validation), None),
            callbacks=[StopOnBadLoss(), Progress("score")],
            **kwargs,
        )

    def buckets(self) -> TaskBuckets:
        return self._sampler

    def _get_train_sampler(self, train_dataset: Any = None) -> TaskBuckets:
        return self._sampler

    def task_of(self, inputs: dict[str, Any]) -> Task:
        return self.jobs[int(inputs["job"])].task

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        job = int(inputs["job"])
        loss, outputs = super().compute_loss(model, inputs, True, num_items_in_batch)
        loss = loss * self.jobs[job].weight * self._balance(job)
        if self.weighting == "uncertainty":
            loss = torch.exp(-self._s) * loss + self._s / 2 / self.args.gradient_accumulation_steps
        return (loss, outputs) if return_outputs else loss

    def _outputs(self, model, inputs):
        job = self.jobs[int(inputs["job"])]
        batch = {key: value for key, value in inputs.items() if key not in ("labels", "job")}
        outputs, self._s = model(
            int(inputs["job"]),
            **job.task.model_inputs(bare_model(job.model), batch, inputs["labels"]),
        )
        return outputs

    def weights(self) -> list[float]:
        """How much the loss of each task counts at the end."""
        learned = (
            torch.exp(-self._many().log_variances).tolist()
            if self.weighting == "uncertainty"
            else [1.0] * len(self.jobs)
        )
        return [
            job.weight * one * self._balance(index)
            for index, (job, one) in enumerate(zip(self.jobs, learned, strict=True))
        ]

    def _balance(self, job: int) -> float:
        lengths = self._many().lengths
        known = self.weighting == "balanced" and bool((lengths > 0).all())
        return float(lengths.mean() / lengths[job]) if known else 1.0

    def _many(self) -> ManyTasks:
        return self.accelerator.unwrap_model(self.model)

    def training_step(self, model, inputs, num_items_in_batch=None):
        job, weight = int(inputs["job"]), self._balance(int(inputs["job"]))
        loss = super().training_step(model, inputs, num_items_in_batch)
        if self.weighting == "balanced" and self.accelerator.sync_gradients:
            found = (
                math.sqrt(
                    sum(float(p.grad.square().sum()) for p in self._shared if p.grad is not None)
                )
                / weight
            )
            lengths = self._many().lengths
            lengths[job] = MEMORY * lengths[job] + (1 - MEMORY) * found if lengths[job] else found
        return loss

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: Any = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Every task that has validation rows; `eval_NAME_METRIC`, and `eval_score`: the mean of
        what each is judged by.
        """
        found: dict[str, float] = {}
        best = []
        for job in self.jobs:
            if job.validation is None:
                continue
            with self.accelerator.autocast():
                outputs = predict(
                    job.model,
                    job.task,
                    job.validation.encoded,
                    job.tokenizer,
                    self.args.eval_batch_size,
                    job.name,
                )
            metrics = job.task.metrics(outputs, job.validation.encoded, job.validation.table)
            found |= {
                f"{metric_key_prefix}_{job.name}_{name}": value for name, value in metrics.items()
            }
            value = metrics[job.task.best_metric]
            best.append(
                1 / value if job.task.lower_is_better else value
            )  # of a perplexity: the mean probability of a token
        found[f"{metric_key_prefix}_score"] = statistics.mean(best)
        self.log(found)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, found)
        return found

    def floating_point_ops(self, inputs):
        return 0

    def _save(self, output_dir: str | None = None, state_dict=None):
        Trainer._save(self, output_dir, self._many().state_dict())


def own_history(history: list[dict[str, float]], name: str) -> list[dict[str, float]]:
    """The log of one task: its own metrics under the names they have when it is trained alone, and
    the loss of all.
    """
    start, found = f"eval_{name}_", []
    for entry in history:
        own = {
            f"eval_{key.removeprefix(start)}": value
            for key, value in entry.items()
            if key.startswith(start)
        }
        rest = {key: value for key, value in entry.items() if not key.startswith("eval_")}
        if own or "loss" in entry:
            found.append(rest | own)
    return found
