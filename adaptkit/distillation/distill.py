"""Knowledge distillation: a student learns from a teacher's logits and from labels.

Hinton et al. 2015, arXiv:1503.02531. The teacher runs once; its logits are one more column of the
training rows. The loss is

    hard * (the task's own loss over labelled items)
    + (1 - hard) * T^2 * KL(softmax(teacher / T) || softmax(student / T))

summed over all labels of an optimizer step, one per text (classify) or one per word (tag), and
divided by their number. If a text may have several labels, each label is a choice between its logit
and 0: the softmax of the two is the sigmoid. Feature losses, if requested, add the weighted
difference of hidden states or attention maps (`adaptkit.distillation.feature_loss`). Rows without
labels only count in the teacher's term. Without feature losses, teacher and student need not share
a tokenizer: only logits of whole texts and of whole words pass between them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from adaptkit.data.collate import Pad
from adaptkit.data.tables import Table
from adaptkit.distillation.feature_loss import FeatureLoss
from adaptkit.distillation.teacher import PLACEHOLDERS, Teacher, extra_outputs_of
from adaptkit.distillation.wrapped_task import WrappedTask
from adaptkit.errors import AdaptkitError
from adaptkit.tasks.base import Task

if TYPE_CHECKING:
    from datasets import Dataset

UNLABELLED = "_unlabelled"  # marks a row that only the teacher labels


@dataclass(frozen=True)
class Distilling:
    """The settings of the distillation loss.

    temperature: divides the logits. hard: the share of the label loss, 0 to 1.
    """

    temperature: float = 2.0
    hard: float = 0.1

    def __post_init__(self):
        if self.temperature <= 0 or not 0 <= self.hard <= 1:
            raise AdaptkitError(
                "a temperature is above 0 and the share of hard labels from 0 to 1; they are "
                f"{self.temperature} and {self.hard}."
            )


class StudentTask(WrappedTask):
    """A task with distillation: the teacher's logits are a column of the training rows."""

    recordable = False  # the number of labels that count is read from the batch

    def __init__(
        self, inner: Task, teacher: Teacher, how: Distilling, feature_losses: Sequence[FeatureLoss]
    ):
        super().__init__(inner)
        self.teacher, self.how, self.feature_losses = teacher, how, feature_losses

    @contextmanager
    def while_training(self, model: Any) -> Iterator[None]:
        """The student with the modules that feature losses add."""
        with ExitStack() as stack:
            for feature_loss in self.feature_losses:
                stack.enter_context(feature_loss.learning(model))
            yield

    def features(
        self,
        table: Table,
        tokenizer: Any,
        max_length: int,
        labelled: bool = True,
        train: bool = False,
    ) -> dict[str, list]:
        """The task's features; training rows also have the teacher's logits and a label mark."""
        found = self.inner.features(table, tokenizer, max_length, labelled, train)
        if train:
            owners = found.get("_row", range(len(table)))
            logits = self.teacher.logits_of(self.inner, table)
            found["teacher"] = _beside_labels(logits, owners, found.get("_first"))
            found["labelled"] = [not table.rows[owner].get(UNLABELLED, False) for owner in owners]
        return found

    def collator(self, tokenizer: Any) -> Pad:
        """The task's collator, with padding for the teacher's logits."""
        pad = cast(Pad, self.inner.collator(tokenizer))
        nothing = [0.0] * len(self.teacher.labels)
        return dataclasses.replace(pad, values=pad.values | {"teacher": nothing})

    def baseline(self, train: Table, table: Table) -> dict[str, float]:
        """The task's baseline, from the labelled rows."""
        labelled = train.with_rows([row for row in train.rows if not row.get(UNLABELLED)])
        return self.inner.baseline(labelled, table)

    def model_inputs(
        self, model: Any, batch: dict[str, Tensor], labels: Tensor | None
    ) -> dict[str, Any]:
        """The task's inputs without the teacher's columns, with outputs for feature losses."""
        read = {name: value for name, value in batch.items() if name not in ("teacher", "labelled")}
        extra = extra_outputs_of(self.feature_losses) if "teacher" in batch else {}
        return self.inner.model_inputs(model, read, labels) | extra

    def loss(
        self,
        outputs: Any,
        batch: dict[str, Tensor],
        labels: Tensor,
        items: Any,
        smoothing: float = 0.0,
    ) -> Tensor:
        """The label, distillation and feature losses; see the module docstring."""
        if "teacher" not in batch:  # an evaluation
            return self.inner.loss(outputs, batch, labels, items, smoothing)
        student, teacher = (
            as_choices(logits, self.teacher.multi_label)
            for logits in (outputs.logits, batch["teacher"])
        )
        share = self.how.hard
        loss: Any = 0.0
        if share:
            labelled = batch["labelled"].reshape(-1, *[1] * (labels.dim() - 1))
            own = labels.masked_fill(~labelled, -100)
            loss = share * self.inner.loss(outputs, batch, own, items, smoothing)
        counted = (labels != -100) & ~teacher.isnan().any(-1)
        soft = soft_loss(student[counted], teacher[counted], self.how.temperature)
        loss = loss + (1 - share) * soft / items
        # a text counts by its number of labels, as in the other terms
        count = (labels != -100).reshape(len(labels), -1).sum(1)
        for feature_loss in self.feature_losses:
            loss = (
                loss
                + feature_loss.weight * (feature_loss.loss(outputs, batch) * count).sum() / items
            )
        return loss


def _beside_labels(
    logits: list[np.ndarray], owners: Any, firsts: list[list[int]] | None
) -> list[Any]:
    """The teacher's logits aligned with the labels.

    One for a row, or for each piece of a window those of the unit that it begins.
    """
    if firsts is None:
        return [row.tolist() for row in logits]
    nothing = [0.0] * logits[0].shape[-1]
    return [
        [nothing if unit < 0 else logits[owner][unit].tolist() for unit in units]
        for owner, units in zip(owners, firsts, strict=True)
    ]


def as_choices(logits: Tensor, multi_label: bool) -> Tensor:
    """Logits for a softmax: unchanged, or `(rows, labels)` as yes/no pairs `(rows, labels, 2)`."""
    return torch.stack([logits, torch.zeros_like(logits)], -1) if multi_label else logits


def soft_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T^2 times the KL divergence of softened predictions, summed over rows `(rows, labels)`."""
    predictions = F.log_softmax(student.float() / temperature, -1)
    targets = F.log_softmax(teacher.float() / temperature, -1)
    return temperature**2 * F.kl_div(predictions, targets, reduction="sum", log_target=True)


def check_alike(task: Task, teacher: Teacher) -> None:
    """Refuse a teacher with another task or other labels than the student."""
    if task.name != teacher.task:
        raise AdaptkitError(
            f"the teacher was trained for {teacher.task}, the student is to learn {task.name}."
        )
    if (several := getattr(task, "multi_label", False)) != teacher.multi_label:
        counts = {True: "any number of labels", False: "one label"}
        raise AdaptkitError(
            f"the teacher gives a text {counts[teacher.multi_label]}, the student is to give it "
            f"{counts[several]}: "
            f"{'leave out' if several else 'add'} --multi_label."
        )
    if set(task.labels) != set(teacher.labels):
        strange = sorted(set(task.labels) ^ set(teacher.labels))
        raise AdaptkitError(
            f"teacher and training rows do not have the same labels: {', '.join(strange[:10])}."
        )


def distilled(
    task: Task,
    teacher: Teacher,
    how: Distilling = Distilling(),
    feature_losses: Sequence[FeatureLoss] = (),
) -> Any:
    """The task for a student of a teacher. Its labels get the teacher's order.

    Raises:
        AdaptkitError: the teacher has other labels, or another task.
    """
    check_alike(task, teacher)
    changed: dict[str, Any] = {"labels": teacher.labels}
    if weights := getattr(task, "weights", None):
        changed["weights"] = [weights[task.labels.index(label)] for label in teacher.labels]
    student = StudentTask(dataclasses.replace(task, **changed), teacher, how, feature_losses)
    return cast(Task, student)


def add_unlabelled(
    task: Task, train: Table, unlabelled: Table, others: list[Table]
) -> tuple[Table, int]:
    """Append each text of `unlabelled` once, unless the training rows or other splits have it.

    Returns:
        The rows, and how many were added. Each has a label from `PLACEHOLDERS`, which no loss
        reads.
    """
    seen = {task.key(row) for table in (train, *others) for row in table.rows}
    added = []
    for row in task.read(unlabelled, labelled=False).rows:
        if (key := task.key(row)) not in seen:
            seen.add(key)
            added.append(row | PLACEHOLDERS[task.name](task) | {UNLABELLED: True})
    return train.with_rows([*train.rows, *added]), len(added)


def labelled_rows(encoded: Dataset) -> Dataset:
    """The encoded rows without those that only a teacher labels, whose labels are placeholders."""
    if "labelled" not in encoded.column_names:
        return encoded
    return encoded.select([i for i, own in enumerate(encoded["labelled"]) if own])
