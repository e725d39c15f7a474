"""What a task is: how rows become tensors, which head and loss, how outputs become answers, how
answers are scored.

A task is a frozen dataclass of settings, with the columns of its rows and the labels of its head.
It holds no model and no data. Rows pass through `read` once, which checks them and gives them the
names of `parts`; everything else works on such rows.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from adaptkit.data.splits import Splits, split_groups
from adaptkit.data.tables import Table
from adaptkit.errors import AdaptkitError, nearest
from adaptkit.tasks.flags import Flag

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

    from adaptkit.tasks.finding import Finding


@dataclass(frozen=True)
class Task:
    """Base class of all tasks.

    columns: what a row has (a key of `parts`) -> the column where it is; what is missing is at its
    default.
    labels: the names of the head's outputs, in order; empty where they have none.
    """

    columns: dict[str, str] = field(default_factory=dict)
    labels: list[str] = field(default_factory=list)

    name: ClassVar[str]
    auto_class: ClassVar[
        str
    ]  # the transformers Auto class that builds the model with this task's head
    problem_type: ClassVar[str | None] = (
        None  # as transformers calls it, where it would assume something else
    )
    parts: ClassVar[
        dict[str, str | None]
    ]  # what a row has -> the column where it is by default; None: only where it is named
    label_parts: ClassVar[tuple[str, ...]] = (
        "label",
    )  # the parts that only training and scoring need
    embedded: ClassVar[dict[str, str]] = {}  # columns of the embedded corpus, where they differ
    best_metric: ClassVar[str]  # by which the best epoch is chosen
    lower_is_better: ClassVar[bool] = False
    reported: ClassVar[tuple[str, ...]]  # the metrics to show, the most important first
    generates: ClassVar[bool] = False  # answers are written token by token, see `generate`
    answers: ClassVar[bool] = True  # there is something to answer
    changeable: ClassVar[
        tuple[str, ...]
    ] = ()  # texts of a row whose words may be moved or left out
    base_knows: ClassVar[bool] = (
        False  # the frozen base without an adapter can do this too, and is scored beside it
    )
    smooths: ClassVar[bool] = True  # the loss knows label smoothing
    same_inputs: ClassVar[bool] = True  # the model reads the same tokens in every epoch
    recordable: ClassVar[bool] = (
        False  # the loss does the same for every batch of one shape, whatever is in it and whenever
    )
    reads_padding: ClassVar[bool] = False  # the loss depends on how far texts are filled up
    inputs_per_row: ClassVar[int] = 1  # texts that the model reads for one row
    how_split: ClassVar[str] = "no text on both sides"  # how `cut` divides
    long_texts: ClassVar[str] = "are cut"  # what becomes of texts that are too long
    defaults: ClassVar[dict[str, Any]] = {}  # of Trainer's flags, where this task wants others
    small_model: ClassVar[str | None] = (
        None  # the kind of model that is made on the spot where none is given
    )
    from_nothing: ClassVar[bool] = (
        False  # where no model is given, all weights of an untrained one train
    )
    recipe_flags: ClassVar[
        dict[str, Flag]
    ] = {}  # flags of every recipe, where this task has another default or help
    not_flags: ClassVar[
        tuple[str, ...]
    ] = ()  # inherited settings that make no sense on the command line
    column_helps: ClassVar[
        dict[str, str]
    ] = {}  # help of `--PART_column`, where the usual sentence does not do

    def column(self, part: str) -> str | None:
        """The column where a part of the rows is."""
        return self.columns.get(part) or self.parts[part]

    @classmethod
    def column_help(cls, part: str) -> str:
        """The help of the flag that names the column of a part."""
        default = f" (default: {cls.parts[part]})" if cls.parts[part] else ""
        return cls.column_helps.get(part, f"column of the {part.replace('_', ' ')}{default}")

    def small_model_settings(self) -> dict[str, Any]:
        """For `adaptkit.models.scratch.make_model`: the kind of the small model, and its settings."""
        return {"kind": self.small_model}

    def wanted(self) -> tuple[str, ...]:
        """The columns that rows must have to be trained on."""
        return tuple(column for part in self.parts if (column := self.column(part)))

    @property
    def one_label(self) -> bool:
        """An answer is one label with a score, so that mistakes can be counted by kind."""
        return False

    # Rows

    def read(self, table: Table, labelled: bool = True) -> Table:
        """Rows with the names of `parts`, every one checked; without the gold parts where `gold` is
        false.

        Raises:
            AdaptkitError: a missing column (with the nearest name), or a bad row by file and line.
        """
        raise NotImplementedError

    def fit_labels(self, train: Table) -> Task:
        """The same task with what only the training rows tell: its labels."""
        return self

    def check_labels(self, table: Table) -> None:
        """Refuse rows whose answers the training rows do not know."""

    def groups(self, table: Table) -> list[str]:
        """A name for each row; rows of one name stay on one side when a split is cut."""
        return [self.key(row) for row in table.rows]

    def split(self, table: Table, seed: int, share: float) -> tuple[Table, Table]:
        """The rows without a share of them, and that share."""
        return split_groups(table, self.groups(table), seed, share)

    def prepare(
        self, splits: Splits, seed: int, validation: float = 0.1, test: float = 0.0
    ) -> tuple[Splits, Task]:
        """Read and check every split, learn the labels, cut off what is missing of a validation and
        a test split.

        Args:
            validation, test: how large a share of the training rows; 0: none is cut off.

        Returns:
            Splits of checked rows, and the task with its labels.
        """
        tables = {name: self.read(table) for name, table in splits.items()}
        train, notes = tables["train"], list(splits.notes)
        task = self.fit_labels(train)
        for name in tables.keys() - {"train"}:
            task.check_labels(tables[name])
        for name, share, wish in (("test", test, seed + 1), ("validation", validation, seed)):
            if name in tables or not share:
                continue
            count = len(train)
            train, tables[name] = task.split(train, wish, share)
            if not len(tables[name]) or not len(train):
                raise AdaptkitError(
                    f"{splits.train.source}: {count} rows (equal ones count as one) are too few "
                    f"to cut a {name} split from; "
                    f"give --{name}_file."
                )
            cut = f"{len(tables[name])} of {count} training rows cut off for it"
            notes.append(f"no {name} data given: {cut} ({task.how_split}, seed {wish})")
        return Splits(train, tables.get("validation"), tables.get("test"), notes), task

    # Tensors

    def encode(
        self,
        table: Table,
        tokenizer: PreTrainedTokenizerBase,
        max_length: int,
        labelled: bool = True,
        train: bool = False,
    ) -> Dataset:
        """The features as a data set."""
        from datasets import Dataset

        return Dataset.from_dict(self.features(table, tokenizer, max_length, labelled, train))

    def features(
        self,
        table: Table,
        tokenizer: PreTrainedTokenizerBase,
        max_length: int,
        labelled: bool = True,
        train: bool = False,
    ) -> dict[str, list]:
        """The model's inputs, not padded, with `labels` where `gold`, and `length`. `train`: they
        are only trained on.

        Long rows may become several; then `_row` says which one they belong to. Columns that begin
        with _ do not reach the model.
        """
        raise NotImplementedError

    def collator(
        self, tokenizer: PreTrainedTokenizerBase
    ) -> Callable[[list[dict]], dict[str, Tensor]]:
        """What makes a batch of encoded rows."""
        from adaptkit.data.collate import Pad

        return Pad.for_tokenizer(tokenizer)

    def model_inputs(
        self, model: Any, batch: dict[str, Tensor], labels: Tensor | None
    ) -> dict[str, Any]:
        """What the model is called with. `model`: the transformers model itself."""
        return batch

    def while_training(self, model: Any) -> AbstractContextManager[Any]:
        """What holds while a model is trained. `model`: the transformers model itself."""
        return nullcontext()

    def loss(
        self,
        outputs: Any,
        batch: dict[str, Tensor],
        labels: Tensor,
        items: Any,
        smoothing: float = 0.0,
    ) -> Tensor:
        """The sum of the losses of all labels that are not -100, divided by `items`: their number
        in the whole optimizer step.
        """
        import torch

        logits = outputs.logits
        return (
            torch.nn.functional.cross_entropy(
                logits.reshape(-1, logits.shape[-1]).float(),
                labels.reshape(-1),
                reduction="sum",
                label_smoothing=smoothing,
            )
            / items
        )

    def postprocess(self, outputs: Any, batch: dict[str, Tensor], labels: Tensor | None) -> Tensor:
        """What is kept of a batch's outputs for `decode` and `metrics`, `(rows, ...)`."""
        return outputs.logits.float()

    # Answers

    def decode(self, outputs: np.ndarray, encoded: Dataset, table: Table) -> list[dict[str, Any]]:
        """The reduced outputs of a whole split as answers, one a row of `table`."""
        raise NotImplementedError

    def generate(
        self, model: Any, table: Table, tokenizer: Any, max_length: int, batch_size: int
    ) -> list[dict[str, Any]]:
        """Written answers, one a row, of tasks that generate."""
        raise NotImplementedError

    def score(self, answers: list[dict[str, Any]], table: Table) -> dict[str, float]:
        """The metrics of answers against the gold in the rows."""
        raise NotImplementedError

    def metrics(self, outputs: np.ndarray, encoded: Dataset, table: Table) -> dict[str, float]:
        """The metrics of a whole split, from reduced outputs."""
        return self.score(self.decode(outputs, encoded, table), table)

    def baseline(self, train: Table, table: Table) -> dict[str, float]:
        """What the simplest guess, learned from the training rows, scores."""
        return {}

    # What people see

    def input_fields(self) -> list[str]:
        """The parts that a question must have."""
        return [part for part in self.parts if part not in self.label_parts and self.column(part)]

    def key(self, row: dict[str, Any]) -> str:
        """What makes two rows the same question."""
        parts = [
            row[part]
            for part in self.parts
            if part not in self.label_parts and isinstance(row.get(part), str)
        ]
        return "\0".join(map(normalize_text, parts or [self.text(row)]))

    def text(self, row: dict[str, Any]) -> str:
        """The text of a row; both where there is a pair."""
        pair = row.get("text_pair") if "text_pair" in self.parts else None
        return " | ".join(
            str(text) for text in (row[next(iter(self.parts))], pair) if text is not None
        )

    def reference_text(self, row: dict[str, Any]) -> str:
        """The right answer, in a line."""
        return str(row.get("label", ""))

    def answer_text(self, answer: dict[str, Any]) -> str:
        """An answer, in a line."""
        return str(answer.get("label", answer.get("text", "")))

    def score_text(self, answer: dict[str, Any]) -> str:
        """How sure an answer is, in a line; empty if the task does not say."""
        return str(answer.get("score", ""))

    def warnings(self, answers: list[dict[str, Any]], table: Table) -> list[str]:
        """What is wrong with the answers of a trained model, whatever their scores: what was seen,
        and what to try.
        """
        return []

    def details(self, answers: list[dict[str, Any]], table: Table) -> list[dict[str, Any]]:
        """Rows of a table of scores, by label; `per_label.tsv`."""
        return []

    def pictures(self, folder: Any, answers: list[dict[str, Any]], table: Table) -> list[bool]:
        """Draw the task's own pictures into a folder; for each whether it could be drawn."""
        return []

    def findings(self, splits: Splits) -> list[Finding]:
        """What `--check` should say about the rows, besides lengths and duplicates."""
        return []

    def encoding_issues(self, encoded: Dataset, table: Table) -> list[Finding]:
        """What `--check` should say about what encoding at this length loses."""
        return []

    def render(self, row: dict[str, Any], tokenizer: Any) -> str:
        """An encoded row as the model reads it; tokens that carry loss in brackets, or the label
        behind an arrow.
        """
        labels = row["labels"]
        if isinstance(labels, list):
            return " ".join(
                f"[{token}]" if label != -100 else token
                for token, label in zip(
                    tokenizer.convert_ids_to_tokens(row["input_ids"]), labels, strict=True
                )
            )
        return (
            f"{tokenizer.decode(row['input_ids'])}  ->  "
            f"{self.labels[labels] if self.labels else labels}"
        )

    def settings(self) -> dict[str, Any]:
        """The settings of this task alone, as its card keeps them."""
        shared = {item.name for item in dataclasses.fields(Task)}
        own = [item for item in dataclasses.fields(self) if item.name not in shared]
        return {
            item.name: getattr(self, item.name) for item in own if item.metadata.get("stored", True)
        }


def normalize_text(text: str) -> str:
    """A text as far as two are told apart: without case, and with one blank for any white space."""
    return " ".join(text.casefold().split())


def read_texts(task: Task, table: Table, parts: Iterable[str]) -> list[dict[str, Any]]:
    """One dict a row with the texts in these parts, where the task has a column for them.

    Raises:
        AdaptkitError: a text is missing, empty, not a text, or holds half of a surrogate pair.
    """
    columns = {part: column for part in parts if (column := task.column(part))}
    for part, column in columns.items():
        table.need(column, f"{part}_column")
    return table.each(
        lambda index, row: {
            part: text_at(table, index, row, column) for part, column in columns.items()
        }
    )


def text_at(table: Table, index: int, row: dict[str, Any], column: str) -> str:
    """The text in a column of a row, checked."""
    text = row.get(column)
    if not isinstance(text, str):
        raise table.bad(index, f"column {column!r} holds {text!r}, which is not a text.")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise table.bad(index, f"the text in column {column!r} holds half of a surrogate pair.")
    if not text.strip():
        raise table.bad(index, f"the text in column {column!r} is empty.")
    return text


def unknown_label(table: Table, index: int, label: str, labels: list[str]) -> AdaptkitError:
    """The error for a label that the training rows do not have."""
    close = nearest(label, labels)
    guess = f" Did you mean {close!r}?" if close else ""
    return table.bad(
        index,
        f"the label {label!r} does not occur in the training data "
        f"({', '.join(labels[:20])}).{guess}",
    )
