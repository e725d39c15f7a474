"""Distilling: a student learns what a teacher says, and the labels (Hinton et al. 2015, arXiv:1503.02531).

The teacher runs once; its logits are one more column of the training rows. The loss is

    hard * (the task's own loss, over rows with a label)  +  (1 - hard) * T^2 * KL(softmax(teacher / T) || softmax(student / T))

summed over all rows of an optimizer step and divided by their number. Rows without labels count in the second part alone.
Teacher and student need not share a tokenizer: only logits of whole texts pass between them.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from torch import Tensor
from torch.nn import functional as F

from adaptkit.errors import AdaptkitError
from adaptkit.files import new_file
from adaptkit.tables import Table
from adaptkit.tasks.base import Task
from adaptkit.tasks.classify import Classify

LOGITS = "teacher_logits.safetensors"
UNLABELLED = "_unlabelled"  # a row that the teacher alone says something about


class Teacher:
    """A classifier that has run once over some texts.

    labels: in the order of its logits. logits: what `name_of` calls a row -> its logits `(labels,)`.
    """

    def __init__(self, labels: list[str], logits: dict[str, np.ndarray]):
        self.labels, self.logits = labels, logits

    @classmethod
    def run(cls, folder: str | Path, table: Table, batch_size: int = 64) -> Teacher:
        """Let an adapter or a fully tuned model in a folder say what it thinks of every row."""
        from adaptkit.predict import Predictor, predict

        predictor = Predictor(folder)
        task = predictor.task
        if not isinstance(task, Classify) or task.multi_label:
            raise AdaptkitError(f"{folder} was trained for {task.name}; a teacher gives one of several labels (classify).")
        encoded = task.encode(table, predictor.tokenizer, predictor.max_length, gold=False)
        logits = predict(predictor.model, task, encoded, predictor.tokenizer, batch_size, title="teacher")
        return cls(list(task.labels), {name_of(task, row): logit for row, logit in zip(table.rows, logits, strict=True)})

    def save(self, file: Path) -> None:
        """Write labels, texts and logits, in one step."""
        texts = np.frombuffer(json.dumps(list(self.logits)).encode(), np.uint8)
        with new_file(file) as staged:
            arrays = {"logits": np.stack(list(self.logits.values())).astype(np.float32), "texts": texts}
            save_file(arrays, staged, metadata={"labels": json.dumps(self.labels)})

    @classmethod
    def load(cls, file: str | Path) -> Teacher:
        """What `save` wrote.

        Raises:
            AdaptkitError: the file is something else.
        """
        try:
            with safe_open(file, "numpy") as found:
                labels = json.loads((found.metadata() or {})["labels"])
                texts = json.loads(found.get_tensor("texts").tobytes())
                return cls(labels, dict(zip(texts, found.get_tensor("logits"), strict=True)))
        except (OSError, KeyError, ValueError, SafetensorError) as problem:
            raise AdaptkitError(f"{file} holds no logits of a teacher ({problem}).") from problem

    def says(self, task: Task, table: Table) -> np.ndarray:
        """Logits of every row, `(rows, labels)`.

        Raises:
            AdaptkitError: a text that the teacher has not seen, by file and line.
        """
        found = []
        for index, row in enumerate(table.rows):
            if (name := name_of(task, row)) not in self.logits:
                raise table.bad(index, f"the teacher's logits do not hold this text: {task.text(row)[:60]!r}.")
            found.append(self.logits[name])
        return np.stack(found)


def name_of(task: Task, row: dict[str, Any]) -> str:
    """A row's texts, to the letter."""
    return json.dumps([row[part] for part in task.parts if part not in task.gold and part in row], ensure_ascii=False)


@dataclass(frozen=True)
class Distilling:
    """How much of what is learned. temperature: divides the logits. hard: the share of the labels' own loss, 0 to 1."""

    temperature: float = 2.0
    hard: float = 0.1

    def __post_init__(self):
        if self.temperature <= 0 or not 0 <= self.hard <= 1:
            raise AdaptkitError(f"a temperature above 0 and a share of hard labels from 0 to 1 are wanted; given were {self}.")


class _Distilled:
    """What a task of its own kind does otherwise while a student learns: the teacher's logits are a column of the training rows."""

    teacher: ClassVar[Teacher]
    how: ClassVar[Distilling]

    def features(self, table: Table, tokenizer, max_length: int, gold: bool = True, train: bool = False):
        found = super().features(table, tokenizer, max_length, gold, train)  # type: ignore[misc]
        if train:
            found["teacher"] = self.teacher.says(self, table).tolist()  # type: ignore[arg-type]
            found["labelled"] = [not row.get(UNLABELLED, False) for row in table.rows]
        return found

    def baseline(self, train: Table, table: Table) -> dict[str, float]:
        labelled = train.with_rows([row for row in train.rows if not row.get(UNLABELLED)])
        return super().baseline(labelled, table)  # type: ignore[misc]

    def feed(self, model: Any, batch: dict[str, Tensor], labels: Tensor | None) -> dict[str, Any]:
        read = {name: value for name, value in batch.items() if name not in ("teacher", "labelled")}
        return super().feed(model, read, labels)  # type: ignore[misc]

    def loss(self, outputs: Any, batch: dict[str, Tensor], labels: Tensor, items: Any, smoothing: float = 0.0) -> Tensor:
        if "teacher" not in batch:  # an evaluation
            return super().loss(outputs, batch, labels, items, smoothing)  # type: ignore[misc]
        known = labels.masked_fill(~batch["labelled"], -100)
        hard = super().loss(outputs, batch, known, items, smoothing) if self.how.hard else 0.0  # type: ignore[misc]
        return (
            self.how.hard * hard + (1 - self.how.hard) * soft_loss(outputs.logits, batch["teacher"], self.how.temperature) / items
        )


def soft_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T^2 times the Kullback-Leibler divergence of the softened answers, summed over rows; logits `(rows, labels)`."""
    said = F.log_softmax(student.float() / temperature, -1)
    wanted = F.log_softmax(teacher.float() / temperature, -1)
    return temperature**2 * F.kl_div(said, wanted, reduction="sum", log_target=True)


def distilled(task: Classify, teacher: Teacher, how: Distilling = Distilling()) -> Classify:
    """The same task for a student of a teacher. Its labels come in the teacher's order.

    Raises:
        AdaptkitError: the teacher knows other labels.
    """
    if set(task.labels) != set(teacher.labels):
        strange = sorted(set(task.labels) ^ set(teacher.labels))
        raise AdaptkitError(f"teacher and training rows do not have the same labels: {', '.join(strange[:10])}.")
    kind = type(f"Distilled{type(task).__name__}", (_Distilled, type(task)), {"teacher": teacher, "how": how})
    settings = {item.name: getattr(task, item.name) for item in dataclasses.fields(task)}
    weights = task.weights and [task.weights[task.labels.index(label)] for label in teacher.labels]
    return kind(**settings | {"labels": teacher.labels, "weights": weights})


def add_unlabelled(task: Classify, train: Table, unlabelled: Table, others: list[Table]) -> tuple[Table, int]:
    """Training rows with the texts of `unlabelled` behind them that stand neither there nor in other splits, each once.

    Returns:
        The rows, and how many were added. Each has the first label, which no loss looks at.
    """
    seen = {task.key(row) for table in (train, *others) for row in table.rows}
    added = []
    for row in task.read(unlabelled, gold=False).rows:
        if (key := task.key(row)) not in seen:
            seen.add(key)
            added.append(row | {"label": task.labels[0], UNLABELLED: True})
    return train.with_rows([*train.rows, *added]), len(added)
