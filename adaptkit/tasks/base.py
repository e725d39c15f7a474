"""The interface of a task: encoding, head, loss, decoding and metrics.

A task is a frozen dataclass of settings with columns and labels; it holds no model and no data.
Rows pass through `read` once, which checks them and names their `parts`; all else works on those.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from adaptkit.data.splits import Splits, split_groups
from adaptkit.data.tables import Table
from adaptkit.data.texts import LONGEST_TEXT, normalize_text, read_texts
from adaptkit.errors import AdaptkitError
from adaptkit.tasks.flags import Flag, stored_settings

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

    from adaptkit.metrics.row_scores import RowScores
    from adaptkit.tasks.finding import Finding

    Batch = dict[str, Tensor]

TRY = "Try another --seed, a lower --learning_rate (a third of it), more epochs or another --method"


@dataclass(frozen=True)
class Task:
    """Base class of all tasks.

    columns: part of a row (a key of `parts`) -> its column; missing parts use their default column.
    labels: the names of the head's outputs, in order; empty if they have none.
    """

    columns: dict[str, str] = field(default_factory=dict)
    labels: list[str] = field(default_factory=list)

    name: ClassVar[str]
    # The transformers Auto class that builds the model with this task's head.
    auto_class: ClassVar[str]
    problem_type: ClassVar[str | None] = None  # in transformers, if it would assume another

    # Part of a row -> its default column, or None for a part used only if named.
    parts: ClassVar[dict[str, str | None]]
    # The parts that only training and scoring need.
    label_parts: ClassVar[tuple[str, ...]] = ("label",)
    # Columns of the embedded corpus, where they differ.
    embedded: ClassVar[dict[str, str]] = {}
    # The text parts of a row whose words may be moved or left out.
    changeable: ClassVar[tuple[str, ...]] = ()
    # How `split` divides the rows, and what happens to texts that are too long.
    how_split: ClassVar[str] = "no text on both sides"
    long_texts: ClassVar[str] = "are cut"
    longest_text: ClassVar[float] = LONGEST_TEXT  # characters

    best_metric: ClassVar[str]  # selects the best epoch
    lower_is_better: ClassVar[bool] = False
    reported: ClassVar[tuple[str, ...]]  # the metrics to print, the most important first
    counted_by: ClassVar[tuple[str, ...]] = ()  # the settings that change what metrics count
    answers: ClassVar[bool] = True  # the task gives answers
    generates: ClassVar[bool] = False  # answers are generated token by token, see `generate`
    base_knows: ClassVar[bool] = False  # the frozen base can do this too, and is scored beside it
    hosted: ClassVar[bool] = True  # a host can answer for it
    compares: ClassVar[bool] = False  # loss and scores compare with the base, its adapter off

    smooths: ClassVar[bool] = True  # the loss supports label smoothing
    same_inputs: ClassVar[bool] = True  # the model reads the same tokens in every epoch
    # The loss does the same for every batch of one shape, whatever its content and time.
    recordable: ClassVar[bool] = False
    reads_padding: ClassVar[bool] = False  # the loss depends on the padded length
    reads_every_token: ClassVar[bool] = False  # of the last layer, and not one of them only
    linear_head: ClassVar[bool] = False  # from one vector to the scores of one label
    pseudo_labels: ClassVar[bool] = False  # texts without a label may join its probe
    inputs_per_row: ClassVar[int] = 1  # texts that the model reads per row

    # The kind of small model to create if no model is given, and whether all its weights train.
    small_model: ClassVar[str | None] = None
    from_nothing: ClassVar[bool] = False

    # The command line: Trainer flags with another default, recipe flags with another default or
    # help text, inherited settings that are not offered, and help of `--PART_column`.
    defaults: ClassVar[dict[str, Any]] = {}
    recipe_flags: ClassVar[dict[str, Flag]] = {}
    not_flags: ClassVar[tuple[str, ...]] = ()
    column_helps: ClassVar[dict[str, str]] = {}

    def column(self, part: str) -> str | None:
        """The column of a part."""
        return self.columns.get(part) or self.parts[part]

    @classmethod
    def column_help(cls, part: str) -> str:
        """The help of the flag that names a part's column."""
        default = f" (default: {cls.parts[part]})" if cls.parts[part] else ""
        return cls.column_helps.get(part, f"column of the {part.replace('_', ' ')}{default}")

    def small_model_settings(self) -> dict[str, Any]:
        """The kind of small model and its settings, for `make_model`."""
        return {"kind": self.small_model}

    def wanted(self) -> tuple[str, ...]:
        """The columns that training rows must have."""
        return tuple(column for part in self.parts if (column := self.column(part)))

    @property
    def one_label(self) -> bool:
        """An answer is one label with a score, so mistakes can be counted by label pair."""
        return False

    # Rows

    def read(self, table: Table, labelled: bool = True) -> Table:
        """Check every row and rename its columns to `parts`; label parts only if `labelled`.

        Raises:
            AdaptkitError: a column is missing (with the closest name), or a row is bad (with file
                and line).
        """
        raise NotImplementedError

    def read_texts(self, table: Table, parts: Iterable[str]) -> list[dict[str, Any]]:
        """One dict per row with the texts of these parts, for the parts that have a column."""
        columns = {part: own for part in parts if (own := self.column(part))}
        return read_texts(table, columns, self.longest_text)

    def fit_labels(self, train: Table) -> Task:
        """The same task with the labels of the training rows."""
        return self

    def check_labels(self, table: Table) -> None:
        """Refuse rows with labels that the training rows do not have."""

    def groups(self, table: Table) -> list[str]:
        """One group name per row; rows of a group stay on the same side of a split."""
        return [self.key(row) for row in table.rows]

    def split(self, table: Table, seed: int, share: float) -> tuple[Table, Table]:
        """The rows without a random share of them, and that share."""
        return split_groups(table, self.groups(table), seed, share)

    def prepare(
        self, splits: Splits, seed: int, validation: float = 0.1, test: float = 0.0
    ) -> tuple[Splits, Task]:
        """Read and check all splits, fit the labels, split off missing validation and test rows.

        Args:
            validation, test: share of the training rows to split off; 0 for none.

        Returns:
            Splits of checked rows, and the task with its labels.
        """
        train = self.read(splits.train)
        task = self.fit_labels(train)
        tables = {n: train if n == "train" else task.read(table) for n, table in splits.items()}
        notes = [*splits.notes, *dict.fromkeys(n for table in tables.values() for n in table.notes)]
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
                    f"to cut a {name} split from; give --{name}_file."
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
        """Model inputs without padding, with `length`, and with `labels` if `labelled`.

        `train`: the rows are only used for training. Long rows may become several inputs; then
        `_row` holds the row index. Columns that start with _ are not passed to the model.
        """
        raise NotImplementedError

    def collator(
        self, tokenizer: PreTrainedTokenizerBase
    ) -> Callable[[list[dict]], dict[str, Tensor]]:
        """The collator that makes batches of encoded rows."""
        from adaptkit.data.collate import Pad

        return Pad.for_tokenizer(tokenizer)

    def model_inputs(self, model: Any, batch: Batch, labels: Tensor | None) -> dict[str, Any]:
        """The arguments to call the model with. `model`: the transformers model itself."""
        return batch

    def predicted(self, labels: Tensor) -> Tensor | None:
        """The label each token predicts, if `loss` and `postprocess` read a `TokenLogits`."""
        return None

    def while_training(self, model: Any) -> AbstractContextManager[Any]:
        """A context that is active while a model trains. `model`: the transformers model itself."""
        return nullcontext()

    def loss(
        self, outputs: Any, batch: Batch, labels: Tensor, items: Any, smoothing: float = 0.0
    ) -> Tensor:
        """The summed loss of all labels other than -100, divided by `items`.

        `items`: the number of such labels in the whole optimizer step.
        """
        from torch.nn.functional import cross_entropy

        logits, flat = outputs.logits.flatten(0, -2).float(), labels.flatten()
        return cross_entropy(logits, flat, reduction="sum", label_smoothing=smoothing) / items

    def postprocess(self, outputs: Any, batch: Batch, labels: Tensor | None) -> Tensor:
        """Reduce a batch's outputs to what `decode` and `metrics` need, `(rows, ...)`."""
        return outputs.logits.float()

    # Answers

    def decode(self, outputs: np.ndarray, encoded: Dataset, table: Table) -> list[dict[str, Any]]:
        """Decode the postprocessed outputs of a whole split, one answer per row of `table`."""
        raise NotImplementedError

    def generate(
        self, model: Any, table: Table, tokenizer: Any, max_length: int, batch_size: int
    ) -> list[dict[str, Any]]:
        """Generate one answer per row, for tasks that generate."""
        raise NotImplementedError

    def hand_over(self, answer: dict[str, Any]) -> dict[str, Any]:
        """An answer as it is given to people; what is too uncertain may be withheld."""
        return answer

    def score(self, answers: list[dict[str, Any]], table: Table) -> dict[str, float]:
        """The metrics of answers against the references in the rows."""
        return self.row_scores(answers, table)()

    def row_scores(self, answers: list[dict[str, Any]], table: Table) -> RowScores:
        """The metrics of any of the rows, for intervals; a task defines this, or only `score`."""
        from adaptkit.metrics.row_scores import scored_anew

        if type(self).score is Task.score:
            raise NotImplementedError
        return scored_anew(lambda chosen, rows: self.score(chosen, table.take(rows)), answers)

    def metrics(self, outputs: np.ndarray, encoded: Dataset, table: Table) -> dict[str, float]:
        """The metrics of a whole split, from postprocessed outputs."""
        return self.score(self.decode(outputs, encoded, table), table)

    def baseline(self, train: Table, table: Table) -> dict[str, float]:
        """The metrics of the simplest guess, fitted on the training rows."""
        return {}

    # Reports and checks

    def input_fields(self) -> list[str]:
        """The parts that a row to be answered must have."""
        return [part for part in self.parts if part not in self.label_parts and self.column(part)]

    def key(self, row: dict[str, Any]) -> str:
        """The value that makes two rows duplicates."""
        parts = [
            row[part]
            for part in self.parts
            if part not in self.label_parts and isinstance(row.get(part), str)
        ]
        return "\0".join(map(normalize_text, parts or [self.text(row)]))

    def text(self, row: dict[str, Any]) -> str:
        """The text of a row, or both texts of a pair."""
        pair = row.get("text_pair") if "text_pair" in self.parts else None
        texts = (row[next(iter(self.parts))], pair)
        return " | ".join(str(text) for text in texts if text is not None)

    def reference_text(self, row: dict[str, Any]) -> str:
        """The reference answer on one line."""
        return str(row.get("label", ""))

    def answer_text(self, answer: dict[str, Any]) -> str:
        """An answer on one line."""
        return str(answer.get("label", answer.get("text", "")))

    def score_text(self, answer: dict[str, Any]) -> str:
        """How sure an answer is, in a line; empty if the task does not say."""
        return str(answer.get("score", ""))

    def learned_nothing(self, answers: list[dict[str, Any]], table: Table) -> str:
        """What shows that a model has learned nothing, such as one answer to all rows; or empty."""
        return ""

    def warnings(self, answers: list[dict[str, Any]], table: Table) -> list[str]:
        """What is wrong with a trained model's answers, whatever their scores; what to try."""
        nothing = self.learned_nothing(answers, table)
        return [f"{nothing}. {TRY}"] if nothing else []

    def details(self, answers: list[dict[str, Any]], table: Table) -> list[dict[str, Any]]:
        """Rows of a table of scores by label, for `per_label.tsv`."""
        return []

    def pictures(self, folder: Any, answers: list[dict[str, Any]], table: Table) -> list[bool]:
        """Draw the task's own plots into a folder; returns whether each could be drawn."""
        return []

    def findings(self, splits: Splits) -> list[Finding]:
        """Findings of `--check` about the rows, besides lengths and duplicates."""
        return []

    def encoding_issues(self, encoded: Dataset, table: Table) -> list[Finding]:
        """Findings of `--check` about what is lost when encoding at this length."""
        return []

    def render(self, row: dict[str, Any], tokenizer: Any) -> str:
        """An encoded row as the model reads it: tokens with loss in brackets, or `-> label`."""
        labels, ids = row["labels"], row["input_ids"]
        if isinstance(labels, list):
            pairs = zip(tokenizer.convert_ids_to_tokens(ids), labels, strict=True)
            return " ".join(f"[{token}]" if label != -100 else token for token, label in pairs)
        label = self.labels[labels] if self.labels else labels
        return f"{tokenizer.decode(ids)}  ->  {label}"

    def settings(self) -> dict[str, Any]:
        """The task's own settings, as stored in its card."""
        return stored_settings(self, Task)
