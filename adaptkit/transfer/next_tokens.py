"""Distilling models that write: for each token the student learns which ones its teacher expects next.

    hard * (the task's own loss)  +  (1 - hard) * T^2 * KL(teacher || student), both softened by T

summed over the tokens that carry loss in an optimizer step and divided by their number. The teacher runs once. Kept are its
likeliest next tokens, with their log-probabilities in fp32; all the others count as one. So both must have one tokenizer.
Behind an encoder the tokens are those of the target, and what a teacher expects is kept by source and target.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from adaptkit.errors import AdaptkitError
from adaptkit.kept import Kept
from adaptkit.tables import Table
from adaptkit.tasks.base import Task, of_kind
from adaptkit.transfer.pull import texts_of, told_of
from adaptkit.trunk import Texts

WRITERS = ("chat", "pretrain", "translate", "summarize")
MOST = 64  # next tokens that are kept by themselves
READ_WITH = ("source_prefix", "source_lang", "target_lang", "system")  # settings of tasks that change what a model reads


class NextTokens:
    """What a teacher expects behind each token. temperature: divides its logits. most: tokens that are kept by themselves."""

    def __init__(self, temperature: float = 2.0, most: int = MOST):
        self.temperature, self.most, self.kept = temperature, most, Kept()
        self.highest = -1  # the highest number of a token that is kept by itself

    def read(self, folder: str | Path, task: Task, table: Table, max_length: int, batch_size: int = 16) -> None:
        """Let a model in a folder read the training rows of a task, at most so many tokens each.

        Raises:
            AdaptkitError: it was trained for something else, or reads texts otherwise.
        """
        from adaptkit.base import load_config
        from adaptkit.choices import within_positions
        from adaptkit.predict import Predictor, predict

        predictor = Predictor(folder)
        if predictor.task.name != task.name:
            raise AdaptkitError(f"{folder} was trained for {predictor.task.name}, the student is to learn {task.name}.")
        for name in READ_WITH:
            theirs, ours = (getattr(one, name, None) or "" for one in (predictor.task, task))
            if theirs != ours:
                raise AdaptkitError(f"{folder} was trained with --{name} {theirs!r}, the student is to read with {ours!r}.")
        tokenizer, base = predictor.tokenizer, str(predictor.card.base)
        encoded = task.encode(table, tokenizer, within_positions(max_length, load_config(base), tokenizer), train=True)
        predict(predictor.model, of_kind(task, _Read, into=self), encoded, tokenizer, batch_size, title="teacher")

    def keep(self, logits: Tensor, texts: Texts) -> None:
        """Keep what the teacher expects in the texts of a batch; logits `(texts, tokens, vocabulary)`."""
        likely = (logits.float() / self.temperature).log_softmax(-1).topk(min(self.most, logits.shape[-1]))
        self.highest = max(self.highest, int(likely.indices.max()))
        texts.keep(self.kept, torch.cat([likely.values, likely.indices.float()], -1))  # fp32 holds numbers up to 2^24

    def loss(self, logits: Tensor, texts: Texts, counted: Tensor) -> Tensor:
        """T^2 times the divergence, summed over the tokens that count, `(texts, tokens)` of truth values.

        Raises:
            AdaptkitError: a text that the teacher has not read, or a vocabulary without tokens that the teacher expects.
        """
        if self.highest >= logits.shape[-1]:
            raise AdaptkitError(f"the teacher expects token {self.highest}; the student's vocabulary has {logits.shape[-1]}.")
        said = (logits[counted].float() / self.temperature).log_softmax(-1)
        wanted, numbers = told_of(texts, self.kept)[counted].chunk(2, -1)
        given = said.gather(-1, numbers.long())
        each = (wanted.exp() * (wanted - given)).sum(-1)
        rest, own = ((1 - likely.exp().sum(-1)).clamp(min=1e-7) for likely in (wanted, given))
        return self.temperature**2 * (each + rest * (rest.log() - own.log())).sum()


def written_in(batch: dict[str, Tensor], labels: Tensor, causal: bool) -> tuple[Texts, Tensor]:
    """The texts that a model writes in a batch, and behind which of their tokens one with a label comes, `(texts, tokens)`."""
    read, labelled = texts_of(batch), labels != -100
    if causal:
        return read, torch.nn.functional.pad(labelled[:, 1:], (0, 1))
    written = texts_of({"input_ids": labels, "attention_mask": labelled.long()})
    both = [source + target for source, target in zip(read.digests, written.digests, strict=True)]
    return dataclasses.replace(written, digests=both), labelled


class _Read:
    """A task whose model is only listened to."""

    into: ClassVar[NextTokens]
    causal: bool

    def reduce(self, outputs: Any, batch: dict[str, Tensor], labels: Tensor) -> Tensor:
        self.into.keep(outputs.logits, written_in(batch, labels, self.causal)[0])
        return outputs.logits.new_zeros(len(outputs.logits), 1, dtype=torch.float32)


class _Taught:
    """A task of its own kind whose training rows a teacher has read."""

    recordable: ClassVar[bool] = False  # what the teacher said is looked up for each batch

    teacher: ClassVar[NextTokens]
    hard: ClassVar[float]
    causal: bool

    def features(self, table: Table, tokenizer, max_length: int, gold: bool = True, train: bool = False):
        found = super().features(table, tokenizer, max_length, gold, train)  # type: ignore[misc]
        return found | ({"taught": [1] * len(found["input_ids"])} if train else {})

    def feed(self, model: Any, batch: dict[str, Tensor], labels: Tensor | None) -> dict[str, Any]:
        return super().feed(model, {name: value for name, value in batch.items() if name != "taught"}, labels)  # type: ignore[misc]

    def loss(self, outputs: Any, batch: dict[str, Tensor], labels: Tensor, items: Any, smoothing: float = 0.0) -> Tensor:
        own = super().loss(outputs, batch, labels, items, smoothing)  # type: ignore[misc]
        if "taught" not in batch:  # an evaluation
            return own
        soft = self.teacher.loss(outputs.logits, *written_in(batch, labels, self.causal))
        return self.hard * own + (1 - self.hard) * soft / items


def taught(task: Task, teacher: NextTokens, hard: float = 0.1) -> Any:
    """The same task for a student of a teacher. hard: the share of the task's own loss, 0 to 1."""
    if getattr(task, "packing", False) or getattr(task, "objective", "clm") != "clm":
        raise AdaptkitError(
            "a teacher that writes reads each row by itself and from left to right: no --packing, no --objective mlm."
        )
    return of_kind(task, _Taught, teacher=teacher, hard=hard)
