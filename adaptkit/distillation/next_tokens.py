"""Distillation of generating models: the student learns the teacher's next-token distribution.

    hard * (the task's own loss)  +  (1 - hard) * T^2 * KL(teacher || student), both softened by T

summed over the tokens that carry loss in an optimizer step and divided by their number. The teacher
runs once. Its likeliest next tokens are stored, with their log-probabilities in fp32; all others
count as one. So both must have the same tokenizer. With an encoder, the tokens are those of the
target, and the teacher's predictions are stored by source and target.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from adaptkit.data.collate import IGNORED
from adaptkit.data.tables import Table
from adaptkit.distillation.feature_loss import batch_keys, teacher_states
from adaptkit.distillation.wrapped_task import WrappedTask
from adaptkit.errors import AdaptkitError
from adaptkit.models.language.head import TokenLogits
from adaptkit.tasks.base import Task
from adaptkit.training.activation_cache import ActivationCache, BatchKeys

WRITERS = ("chat", "pretrain", "translate", "summarize")

MOST = 64  # number of next tokens stored separately

READ_WITH = (
    "source_prefix",
    "source_lang",
    "target_lang",
    "system",
)  # settings of tasks that change the model's inputs


class NextTokens:
    """A teacher's predictions for each next token.

    temperature: divides its logits. most: number of tokens stored separately.
    """

    def __init__(self, temperature: float = 2.0, most: int = MOST):
        self.temperature, self.most, self.cache = temperature, most, ActivationCache()
        self.highest = -1  # the highest id of a token that is stored separately

    def read(
        self, folder: str | Path, task: Task, table: Table, max_length: int, batch_size: int = 16
    ) -> None:
        """Run a model in a folder over a task's training rows, truncated to `max_length` tokens.

        Raises:
            AdaptkitError: it was trained for another task, or reads texts differently.
        """
        from adaptkit.inference.predict import predict
        from adaptkit.inference.predictor import Predictor
        from adaptkit.models.names import load_config
        from adaptkit.models.tokenizer import longest_input

        predictor = Predictor(folder)
        if predictor.task.name != task.name:
            raise AdaptkitError(
                f"{folder} was trained for {predictor.task.name}, the student is to learn "
                f"{task.name}."
            )
        for name in READ_WITH:
            theirs, ours = (getattr(one, name, None) or "" for one in (predictor.task, task))
            if theirs != ours:
                raise AdaptkitError(
                    f"{folder} was trained with --{name} {theirs!r}, the student is to read with "
                    f"{ours!r}."
                )
        tokenizer, base = predictor.tokenizer, str(predictor.card.base)
        length = min(max_length, longest_input(load_config(base), tokenizer))
        encoded = task.encode(table, tokenizer, length, train=True)
        predict(
            predictor.model,
            cast(Task, ReadingTask(task, self)),
            encoded,
            tokenizer,
            batch_size,
            title="teacher",
        )

    def keep(self, tokens: TokenLogits, texts: BatchKeys, shape: torch.Size) -> None:
        """Store the teacher's predictions for the tokens of a batch `(texts, tokens)`."""

        def likeliest(logits: Tensor, labels: Tensor, places: Tensor) -> Tensor:
            likely = (logits.float() / self.temperature).log_softmax(-1)
            values, numbers = likely.topk(min(self.most, logits.shape[-1]))
            return torch.cat([values, numbers.float()], -1)  # fp32 has integers up to 2^24

        found = torch.cat(tokens.each(likeliest))[tokens.places >= 0]
        self.highest = max(self.highest, int(found.chunk(2, -1)[1].max()))
        rows = found.new_zeros(shape.numel(), found.shape[-1])
        rows[tokens.places[tokens.places >= 0]] = found
        texts.keep(self.cache, rows.view(*shape, -1))

    def loss(self, tokens: TokenLogits, texts: BatchKeys) -> Tensor:
        """T^2 times the divergence, summed over the tokens.

        Raises:
            AdaptkitError: the teacher has not read a text, or the vocabulary lacks tokens that the
                teacher predicts.
        """
        if self.highest >= tokens.vocabulary:
            raise AdaptkitError(
                f"the teacher expects token {self.highest}; the student's vocabulary has "
                f"{tokens.vocabulary}."
            )
        taught = teacher_states(texts, self.cache).flatten(0, 1)

        def divergence(logits: Tensor, labels: Tensor, places: Tensor) -> Tensor:
            predictions = (logits.float() / self.temperature).log_softmax(-1)
            teacher, numbers = taught[places].chunk(2, -1)
            given = predictions.gather(-1, numbers.long())
            each = (teacher.exp() * (teacher - given)).sum(-1)
            rest, own = ((1 - likely.exp().sum(-1)).clamp(min=1e-7) for likely in (teacher, given))
            return ((each + rest * (rest.log() - own.log())) * (labels != IGNORED)).sum()

        return self.temperature**2 * torch.stack(tokens.each(divergence)).sum()


def written_in(batch: dict[str, Tensor], labels: Tensor, causal: bool) -> BatchKeys:
    """The texts that a model generates in a batch, by their tokens and those that are labelled."""
    read = batch_keys(batch)
    written = batch_keys({"input_ids": labels, "attention_mask": (labels != IGNORED).long()})
    both = [source + target for source, target in zip(read.digests, written.digests, strict=True)]
    return dataclasses.replace(read if causal else written, digests=both)


class ReadingTask(WrappedTask):
    """A task that only stores the model's next-token predictions."""

    def __init__(self, inner: Task, into: NextTokens):
        super().__init__(inner)
        self.into = into

    def postprocess(self, outputs: Any, batch: dict[str, Tensor], labels: Tensor) -> Tensor:
        """Store the likeliest next tokens in `into`; the caller gets nothing."""
        self.into.keep(outputs, written_in(batch, labels, self.causal), labels.shape)
        return torch.zeros(len(labels), 1)


class TaughtTask(WrappedTask):
    """A task whose training rows a teacher has read. hard: the share of the task's own loss."""

    recordable = False  # the teacher's predictions are looked up for each batch

    def __init__(self, inner: Task, teacher: NextTokens, hard: float):
        super().__init__(inner)
        self.teacher, self.hard = teacher, hard

    def features(
        self,
        table: Table,
        tokenizer: Any,
        max_length: int,
        labelled: bool = True,
        train: bool = False,
    ) -> dict[str, list]:
        """The task's features; training rows are marked as read by the teacher."""
        found = self.inner.features(table, tokenizer, max_length, labelled, train)
        return found | ({"taught": [1] * len(found["input_ids"])} if train else {})

    def model_inputs(
        self, model: Any, batch: dict[str, Tensor], labels: Tensor | None
    ) -> dict[str, Any]:
        """The task's inputs, without the mark."""
        read = {name: value for name, value in batch.items() if name != "taught"}
        return self.inner.model_inputs(model, read, labels)

    def loss(
        self,
        outputs: Any,
        batch: dict[str, Tensor],
        labels: Tensor,
        items: Any,
        smoothing: float = 0.0,
    ) -> Tensor:
        """The task's own loss and the distillation loss; see the module docstring."""
        own = self.inner.loss(outputs, batch, labels, items, smoothing)
        if "taught" not in batch:  # an evaluation
            return own
        soft = self.teacher.loss(outputs, written_in(batch, labels, self.causal))
        return self.hard * own + (1 - self.hard) * soft / items


def taught(task: Task, teacher: NextTokens, hard: float = 0.1) -> Any:
    """The task for a student of a teacher. hard: the share of the task's own loss, 0 to 1."""
    if getattr(task, "packing", False) or getattr(task, "objective", "clm") != "clm":
        raise AdaptkitError(
            "a teacher that writes reads each row by itself and from left to right: no "
            "--packing, no --objective mlm."
        )
    return cast(Task, TaughtTask(task, teacher, hard))
