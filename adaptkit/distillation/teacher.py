"""A teacher: a trained model that has run once over some texts, and its logits."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from torch import Tensor

from adaptkit.adapters.card import existing_card
from adaptkit.data.tables import Table
from adaptkit.data.word_pieces import by_unit
from adaptkit.distillation.feature_loss import FeatureLoss
from adaptkit.distillation.next_tokens import WRITERS
from adaptkit.distillation.wrapped_task import WrappedTask
from adaptkit.errors import AdaptkitError
from adaptkit.tasks.base import Task
from adaptkit.utils.atomic_files import new_file

LOGITS = "teacher_logits.safetensors"


PLACEHOLDERS: dict[
    str, Callable[[Any], dict[str, Any]]
] = {  # supported tasks; the placeholder label of unlabelled rows, which no loss reads
    "classify": lambda task: {"label": task.labels[0] if task.one_label else []},
    "tag": lambda task: {"entities": []},
}


class Teacher:
    """A model that has run once over some texts.

    task: classify or tag. labels: in the order of its logits. logits: `name_of(row)` -> its logits,
    `(labels,)`, or `(words, labels)` with NaN for words in which no piece of the teacher's begins.
    multi_label: a text may have any number of labels.
    """

    def __init__(
        self,
        labels: list[str],
        logits: dict[str, np.ndarray],
        task: str = "classify",
        multi_label: bool = False,
    ):
        self.labels, self.logits, self.task, self.multi_label = labels, logits, task, multi_label

    @classmethod
    def run(
        cls,
        folder: str | Path,
        table: Table,
        batch_size: int = 64,
        feature_losses: Sequence[FeatureLoss] = (),
    ) -> Teacher:
        """Compute the logits of every row with an adapter or a fully fine-tuned model in a folder.

        feature_losses: store the teacher's features, too.

        Raises:
            AdaptkitError: the model does not label texts or words.
        """
        from adaptkit.inference.predict import predict
        from adaptkit.inference.predictor import Predictor
        from adaptkit.models.backbone import bare_model

        predictor = Predictor(folder)
        task = predictor.task
        check_taught(folder, task.name)
        teacher_task = TeacherTask(task, feature_losses)
        encoded = teacher_task.encode(
            table, predictor.tokenizer, predictor.max_length, labelled=False
        )
        with ExitStack() as stack:
            for feature_loss in feature_losses:
                stack.enter_context(feature_loss.teaching(bare_model(predictor.model)))
            logits = predict(
                predictor.model,
                cast(Task, teacher_task),
                encoded,
                predictor.tokenizer,
                batch_size,
                title="teacher",
            )
        if task.name == "tag":
            nothing = np.full(len(task.labels), np.nan, np.float32)
            words = by_unit(logits, encoded, table)
            rows = [
                np.stack([nothing if one is None else one for one in row] or [nothing])
                for row in words
            ]
        else:
            rows = list(logits)
        by_name = {name_of(task, row): own for row, own in zip(table.rows, rows, strict=True)}
        return cls(list(task.labels), by_name, task.name, getattr(task, "multi_label", False))

    @classmethod
    def to_be(cls, folder: str | Path) -> Teacher:
        """The model in a folder before it has run: its labels, and no logits.

        Raises:
            AdaptkitError: the model does not label texts or words.
        """
        card = existing_card(Path(folder))
        check_taught(folder, str(card.task))
        return cls(card.labels, {}, str(card.task), bool(card.settings.get("multi_label")))

    def save(self, file: Path) -> None:
        """Write task, labels, texts and logits, atomically."""
        texts = np.frombuffer(json.dumps(list(self.logits)).encode(), np.uint8)
        rows = [np.atleast_2d(row).astype(np.float32) for row in self.logits.values()]
        with new_file(file) as staged:
            arrays = {
                "logits": np.concatenate(rows),
                "counts": np.array([len(row) for row in rows]),
                "texts": texts,
            }
            about = {
                "task": self.task,
                "labels": json.dumps(self.labels),
                "multi_label": json.dumps(self.multi_label),
            }
            save_file(arrays, staged, metadata=about)

    @classmethod
    def load(cls, file: str | Path) -> Teacher:
        """Load what `save` wrote.

        Raises:
            AdaptkitError: the file has other contents.
        """
        try:
            with safe_open(file, "numpy") as found:
                about = found.metadata() or {}
                labels, task = json.loads(about["labels"]), about["task"]
                texts = json.loads(found.get_tensor("texts").tobytes())
                rows = np.split(
                    found.get_tensor("logits"), np.cumsum(found.get_tensor("counts"))[:-1]
                )
                logits = [row[0] for row in rows] if task == "classify" else rows
                return cls(
                    labels,
                    dict(zip(texts, logits, strict=True)),
                    task,
                    json.loads(about.get("multi_label", "false")),
                )
        except (OSError, KeyError, ValueError, SafetensorError) as problem:
            raise AdaptkitError(f"{file} holds no logits of a teacher ({problem}).") from problem

    def logits_of(self, task: Task, table: Table) -> list[np.ndarray]:
        """The logits of every row.

        Raises:
            AdaptkitError: the teacher has not seen a text, with file and line.
        """
        found = []
        for index, row in enumerate(table.rows):
            if (name := name_of(task, row)) not in self.logits:
                raise table.bad(
                    index, f"the teacher's logits do not hold this text: {task.text(row)[:60]!r}."
                )
            found.append(self.logits[name])
        return found


def taught_by(teacher: str | None) -> str:
    """The task taught by a teacher's folder or file of logits; classify without a teacher.

    Raises:
        AdaptkitError: no student can learn the teacher's task.
    """
    if not teacher:
        return "classify"
    if Path(teacher).is_file():
        return Teacher.load(teacher).task
    task = existing_card(Path(teacher)).task
    check_taught(teacher, str(task), (*PLACEHOLDERS, *WRITERS))
    return str(task)


def check_taught(
    teacher: str | Path, task: str, known: Iterable[str] = tuple(PLACEHOLDERS)
) -> None:
    """Refuse a teacher of another task."""
    if task not in known:
        raise AdaptkitError(
            f"{teacher} was trained for {task}; a teacher is one of {', '.join(known)}."
        )


def name_of(task: Task, row: dict[str, Any]) -> str:
    """The exact texts of a row, as a key."""
    return json.dumps(
        [row[part] for part in task.parts if part not in task.label_parts and part in row],
        ensure_ascii=False,
    )


class TeacherTask(WrappedTask):
    """A task that returns its logits, even if its answers are numbers, and stores features."""

    def __init__(self, inner: Task, feature_losses: Sequence[FeatureLoss]):
        super().__init__(inner)
        self.feature_losses = feature_losses

    def model_inputs(
        self, model: Any, batch: dict[str, Tensor], labels: Tensor | None
    ) -> dict[str, Any]:
        """The task's inputs, and requests for the outputs that feature losses need."""
        return self.inner.model_inputs(model, batch, labels) | extra_outputs_of(self.feature_losses)

    def postprocess(self, outputs: Any, batch: dict[str, Tensor], labels: Tensor | None) -> Tensor:
        """The logits of a batch, whatever the task itself returns."""
        for feature_loss in self.feature_losses:
            feature_loss.keep(outputs, batch)
        return outputs.logits.float()


def extra_outputs_of(feature_losses: Sequence[FeatureLoss]) -> dict[str, Any]:
    """The outputs requested from a model besides its logits."""
    return {
        name: value
        for feature_loss in feature_losses
        for name, value in feature_loss.extra_outputs.items()
    }
