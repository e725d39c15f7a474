"""Multi-task training: models of several tasks share one base and optionally one adapter.

A step belongs to one task, so its loss, batches and padding are those of the task alone;
`TaskBuckets` assigns the steps. The models stay ordinary ones: only their tensors are shared, so
each is saved, loaded and served like any other.

Weights of the tasks' losses:
    fixed         as given
    uncertainty   exp(-s) loss + s / 2, with a learned s per task
                  (Kendall et al. 2018, arXiv:1705.07115)
    balanced      the gradients of all tasks at the shared adapter get about the same norm
                  (the idea of GradNorm, Chen et al. 2018, arXiv:1711.02257, without its rates)
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
from adaptkit.models.language.outputs import task_outputs
from adaptkit.tasks.base import Task
from adaptkit.training.callbacks import StopOnBadLoss
from adaptkit.training.options import EncodedSplit
from adaptkit.training.progress import Progress
from adaptkit.training.run_record import run_record
from adaptkit.training.trainer import AdapterTrainer

WEIGHTINGS = ("fixed", "uncertainty", "balanced")

MEMORY = 0.9  # decay of the running mean of gradient norms


@dataclass
class Job:
    """One of the tasks: its model (from `adapt`), its rows, and the weight of its loss."""

    name: str
    model: Any
    task: Task
    train: EncodedSplit
    validation: EncodedSplit | None
    tokenizer: Any
    weight: float = 1.0


def share_tensors(models: Sequence[nn.Module], adapter: bool = True) -> None:
    """Make models of one base share its tensors, and with `adapter` also the adapter's.

    Heads stay separate.

    Raises:
        AdaptkitError: the bases or methods differ. The models may then share some tensors.
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
    """The parameters of a model's backbone: name -> (the module that holds it, its name there)."""
    backbone, _ = backbone_of(bare_model(model))
    for path, module in backbone.named_modules():
        for key, parameter in list(module._parameters.items()):
            if parameter is not None:
                yield f"{path}.{key}", module, key


class ManyTasks(nn.Module):
    """The models of all tasks, as one for the Trainer.

    Its state is the trained tensors, each once.
    """

    lengths: Tensor  # running means of gradient norms, (tasks,); 0: not known yet

    def __init__(self, models: Sequence[Any], names: Sequence[str]):
        super().__init__()
        self.models = nn.ModuleList(models)
        self.names = list(names)
        self.config = models[0].config  # Trainer needs one
        self.log_variances = nn.Parameter(torch.zeros(len(models)), requires_grad=False)
        self.register_buffer("lengths", torch.zeros(len(models)))

    def forward(self, job: int, **inputs: Any) -> tuple[Any, Tensor]:
        """The outputs of a task's model, and the log variance of its loss."""
        return self.models[job](**inputs), self.log_variances[job]

    def shared(self) -> list[nn.Parameter]:
        """The trained parameters that all models share."""
        trained = [
            {id(p): p for p in model.parameters() if p.requires_grad} for model in self.models
        ]
        return [p for key, p in trained[0].items() if all(key in one for one in trained[1:])]

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:  # type: ignore[override]
        # Optimizer states and weights go by the tasks' positions: a key that names the tasks
        # refuses other tasks, and another order.
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
    """Collator of rows of one task; `job` marks the task of a batch."""

    collators: list[Any]

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Tensor]:
        job = rows[0]["_job"]
        return self.collators[job](rows) | {"job": torch.tensor(job)}


class ManyTasksTrainer(AdapterTrainer):
    """Trains all tasks.

    The best epoch has the highest mean of the tasks' best metrics, `eval_score`; a perplexity
    counts as its inverse. If one task has too few validation rows, the last epoch is kept.
    """

    recordable = False  # it reads the task of a batch

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
        self.record = run_record(
            jobs[0].model,
            [job.task for job in jobs],
            [job.train for job in jobs],
            [job.validation for job in jobs],
            args,
            options,
        )
        self.record["same"] = {
            "names of the tasks": [job.name for job in jobs],
            "--sampling_temperature": temperature,
            "--task_weighting": weighting,
            **self.record["same"],
        }

    def buckets(self) -> TaskBuckets:
        return self._sampler

    def _get_train_sampler(self, train_dataset: Any = None) -> TaskBuckets:
        return self._sampler

    def task_of(self, inputs: dict[str, Any]) -> Task:
        return self.jobs[int(inputs["job"])].task

    def model_of(self, inputs: dict[str, Any]) -> Any:
        return self.jobs[int(inputs["job"])].model

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
        labels = inputs["labels"]

        def run(**read: Any) -> Any:
            outputs, self._s = model(int(inputs["job"]), **read)
            return outputs

        return task_outputs(job.task, job.model, batch, labels, run, self.in_one_piece)

    def weights(self) -> list[float]:
        """The final weight of each task's loss."""
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
        """Evaluate every task with validation rows; returns `eval_NAME_METRIC` and `eval_score`.

        `eval_score` is the mean of the tasks' best metrics.
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
            )  # for a perplexity: the mean probability of a token
        found[f"{metric_key_prefix}_score"] = statistics.mean(best)
        self.log(found)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, found)
        return found

    def floating_point_ops(self, inputs):
        return 0

    def _save(self, output_dir: str | None = None, state_dict=None):
        Trainer._save(self, output_dir, self._many().state_dict())
        self._save_record(str(output_dir or self.args.output_dir))


def own_history(history: list[dict[str, float]], name: str) -> list[dict[str, float]]:
    """The log of one task: its metrics under their usual names, and the loss of all tasks."""
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
