"""Decisions: which of the options that come with a row, by their words."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from adaptkit.data.collate import Pad
from adaptkit.data.splits import Splits
from adaptkit.data.tables import Table
from adaptkit.errors import AdaptkitError, quoted, unknown
from adaptkit.tasks.base import Task
from adaptkit.tasks.embed import check_pooling, unit_vectors
from adaptkit.tasks.flags import flag
from adaptkit.tasks.labels.options import (
    Options,
    check_options,
    options_of,
    read_options,
)
from adaptkit.tasks.labels.right_options import right_options
from adaptkit.tasks.registry import register_task

ENCODERS = ("bi", "cross")
SPLITS = ("text", "option")
NOT_AN_OPTION = -100.0  # the score of what only fills a row up
INPUTS = ("input_ids", "attention_mask", "token_type_ids")


@register_task
@dataclass(frozen=True)
class Decide(Task):
    """One of the options in a row, for its text; an option may never have been seen before.

    Text and options are read by their words. A bi-encoder makes a vector of each and compares
    them: an option is encoded once for all rows of a batch. A cross-encoder reads every pair of
    text and option (transformers' multiple choice head), which costs as many passes as there are
    options.

    options: those of rows without options of their own; by default the labels of the training rows.
    encoder: bi or cross. pooling, temperature: of the bi-encoder, as in `Embed`.
    """

    encoder: str = flag(
        "bi", "bi: compare vectors of text and options; cross: read each pair of them (slower)"
    )
    pooling: str = flag(
        "mean", "with bi: what a vector is, mean (of the tokens) or first (the first token)"
    )
    temperature: float = flag(0.05, "with bi: divides the cosines")
    options: list[str] | None = flag(
        None, "the options of rows without any (default: the labels of the training rows)"
    )
    option_columns: list[str] | None = flag(
        None, "columns that hold an option each (default: a list in the column options)"
    )
    option_template: str = flag("{}", "what is read of an option, such as 'It is about {}.'")
    first_option: int = flag(0, "where labels are numbers: that of the first option, 0 or 1")

    split_by: str = flag(
        "text",
        "what is on one side of a split only: text, or option, so that validation rows have "
        "options that training does not see",
        stored=False,
    )

    name = "decide"
    parts = {"text": "text", "options": None, "label": "label"}
    embedded = {"label": "intent"}
    column_helps = {
        "options": "column of each row's options, a list (default: options, if there is one)",
        "label": "column of the right option: its text, its name or its number (default: label)",
    }
    best_metric = "accuracy"
    reported = ("accuracy", "base_accuracy", "chance")
    changeable = ("text",)
    hosted = False
    smooths = False

    def __post_init__(self) -> None:
        if self.encoder not in ENCODERS:
            raise unknown("encoder", self.encoder, ENCODERS)
        if self.split_by not in SPLITS:
            raise unknown("split_by", self.split_by, SPLITS)
        check_pooling(self.pooling)
        if "{}" not in self.option_template:
            raise AdaptkitError(
                f"--option_template {quoted(self.option_template)} has no {{}} for the option."
            )
        if self.options is not None:
            check_options(self.options)

    @property
    def auto_class(self) -> str:  # type: ignore[override]
        return "AutoModel" if self.encoder == "bi" else "AutoModelForMultipleChoice"

    @property
    def base_knows(self) -> bool:  # type: ignore[override]
        return self.encoder == "bi"

    def wanted(self) -> tuple[str, ...]:
        return (*super().wanted(), *(self.option_columns or ()))

    def input_fields(self) -> list[str]:
        return ["text"]

    def read(self, table: Table, labelled: bool = True) -> Table:
        rows = self.read_texts(table, ("text",))
        found = self._own_options(table)
        for row, options in zip(rows, found, strict=True):
            if options is not None:
                row["options"] = list(options.values())
        if labelled:
            column = self.column("label") or "label"
            table.need(column, "label_column")
            own, first = self.column("options"), self.first_option
            labels = right_options(table, column, found, first, own, self.option_columns)
            for row, label in zip(rows, labels, strict=True):
                row["label"] = label
        return table.with_rows(rows)

    def _own_options(self, table: Table) -> list[Options | None]:
        """Each row's own options; with default ones, a file may lack the columns of training."""
        columns = {*(self.option_columns or [self.column("options") or "options"])}
        if self.options is not None and not columns & {*table.columns}:
            return [None] * len(table)
        return read_options(table, self.column("options"), self.option_columns)

    def prepare(
        self, splits: Splits, seed: int, validation: float = 0.1, test: float = 0.0
    ) -> tuple[Splits, Task]:
        read_options(
            splits.train, self.column("options"), self.option_columns
        )  # they must be there
        read, task = super().prepare(splits, seed, validation, test)
        self.check_options_used(table for _, table in read.items())
        return read, task

    def fit_labels(self, train: Table) -> Decide:
        bare = [row["label"] for row in train.rows if "options" not in row]
        if self.options is not None or not bare:
            return self
        options = sorted(set(bare))
        if len(options) < 2:
            raise AdaptkitError(
                f"{train.source}: every row has the label {quoted(options[0])}; there is nothing "
                "to decide. Give --options, or rows with options of their own."
            )
        return dataclasses.replace(self, options=options)

    @property
    def how_split(self) -> str:  # type: ignore[override]
        return f"no {self.split_by} on both sides"

    def groups(self, table: Table) -> list[str]:
        if self.split_by == "option":
            return [row["label"] for row in table.rows]
        return super().groups(table)

    def check_labels(self, table: Table) -> None:
        for index, row in enumerate(table.rows):
            options_of(table, index, row, self.options)

    def check_options_used(self, tables: Iterable[Table]) -> None:
        """Refuse default options if each row that was read has options of its own."""
        rows = [row for table in tables for row in table.rows]
        if self.options is not None and all("options" in row for row in rows):
            raise AdaptkitError(
                f"--options {quoted(self.options)} would not be used: it is for rows without "
                f"options, and each of the {len(rows)} rows has its own. Leave --options out."
            )

    def features(
        self, table: Table, tokenizer, max_length: int, labelled: bool = True, train: bool = False
    ):
        """With bi `option_ids`, the tokens of each option; with cross a pair for each option.

        With `split_by="option"`, training rows have the options of training rows alone.
        """
        held_out = train and self.options and self.split_by == "option"
        default = sorted(_labels_of(table)) if held_out else self.options
        rows = [options_of(table, index, row, default) for index, row in enumerate(table.rows)]
        cut = {"truncation": True, "max_length": max_length}
        texts = [row["text"] for row in table.rows]
        read = [[self._read_as(option) for option in options] for options in rows]
        if self.encoder == "bi":
            encoded = dict(tokenizer(texts, **cut))
            known = sorted({option for options in read for option in options})
            ids = dict(zip(known, tokenizer(known, **cut)["input_ids"], strict=True))
            encoded["option_ids"] = [[ids[option] for option in options] for options in read]
            encoded["length"] = [len(one) for one in encoded["input_ids"]]
        else:
            firsts = [text for text, options in zip(texts, read, strict=True) for _ in options]
            pairs = tokenizer(firsts, [one for options in read for one in options], **cut)
            encoded = {name: _by_row(values, read) for name, values in pairs.items()}
            encoded["length"] = [max(map(len, of_row)) for of_row in encoded["input_ids"]]
        if labelled:
            encoded["labels"] = [
                options.index(row["label"]) for options, row in zip(rows, table.rows, strict=True)
            ]
        return encoded

    def _read_as(self, option: str) -> str:
        return self.option_template.replace("{}", option.replace("_", " "))

    def collator(self, tokenizer):
        pad = Pad.for_tokenizer(tokenizer)
        return (_compared if self.encoder == "bi" else _paired)(pad)

    def model_inputs(self, model, batch, labels):
        return {name: value for name, value in batch.items() if name != "places"}

    def scores(self, outputs, batch):
        """Scores `(rows, options)`; a row with fewer options is filled up with `NOT_AN_OPTION`."""
        places = batch["places"]
        if self.encoder == "cross":
            return outputs.logits.float().masked_fill(places < 0, NOT_AN_OPTION)
        vectors = unit_vectors(outputs, batch, self.pooling)
        texts, options = vectors[: len(places)], vectors[len(places) :]
        cosines = (texts @ options.T / self.temperature).gather(1, places.clamp(min=0))
        return cosines.masked_fill(places < 0, NOT_AN_OPTION)

    def loss(self, outputs, batch, labels, items, smoothing: float = 0.0):
        from torch.nn import functional

        scores = self.scores(outputs, batch).masked_fill(batch["places"] < 0, -1e9)
        return functional.cross_entropy(scores, labels, reduction="sum") / items

    def postprocess(self, outputs, batch, labels):
        return self.scores(outputs, batch)

    def decode(self, outputs: np.ndarray, encoded, table: Table) -> list[dict[str, Any]]:
        """`{"label", "score"}`: the option, and its share among those of its row."""
        answers = []
        for index, (scores, row) in enumerate(zip(outputs, table.rows, strict=True)):
            options = options_of(table, index, row, self.options)
            shares = np.exp(scores[: len(options)] - scores[: len(options)].max())
            best = int(shares.argmax())
            answers.append(
                {"label": options[best], "score": round(float(shares[best] / shares.sum()), 6)}
            )
        return answers

    def score(self, answers, table: Table) -> dict[str, float]:
        right = [
            answer["label"] == row["label"] for answer, row in zip(answers, table.rows, strict=True)
        ]
        return {"accuracy": sum(right) / len(right)}

    def baseline(self, train: Table, table: Table) -> dict[str, float]:
        """The accuracy of guessing."""
        counts = [
            len(options_of(table, index, row, self.options)) for index, row in enumerate(table.rows)
        ]
        return {"chance": sum(1 / count for count in counts) / len(counts)}

    def render(self, row: dict[str, Any], tokenizer: Any) -> str:
        of_pairs = self.encoder == "cross"
        options = row["input_ids"] if of_pairs else row["option_ids"]
        shown = [tokenizer.decode(ids) for ids in options]
        text = "" if of_pairs else f"{tokenizer.decode(row['input_ids'])}  ->  "
        return f"{text}{shown[row['labels']]}  (of {len(shown)})"


def _labels_of(table: Table) -> set[str]:
    """The right options of all rows without options of their own."""
    return {row["label"] for row in table.rows if "options" not in row}


def _by_row(values: list, rows: list[list]) -> list[list]:
    """Values for each option of each row, as a list for each row."""
    remaining = iter(values)
    return [[next(remaining) for _ in options] for options in rows]


def _compared(pad: Pad):
    """Stack the texts of a batch and, once each, all their options."""

    def collate(rows):
        order: dict = {}  # the tokens of an option -> its place
        places = [
            [order.setdefault(tuple(ids), len(order)) for ids in row["option_ids"]] for row in rows
        ]
        names = [name for name in rows[0] if name in INPUTS]
        texts = [{name: row[name] for name in names} for row in rows]
        options = [{name: _as(name, ids) for name in names} for ids in order]
        return pad([*texts, *options]) | _labels(pad, rows) | {"places": _filled_up(places)}

    return collate


def _as(name: str, ids: tuple[int, ...]) -> list[int]:
    """One of the inputs of a single text with these tokens."""
    return list(ids) if name == "input_ids" else [int(name == "attention_mask")] * len(ids)


def _paired(pad: Pad):
    """Pairs as `(rows, options, tokens)`; rows with fewer options repeat their first one."""

    def collate(rows):
        places = [list(range(len(row["input_ids"]))) for row in rows]
        most = max(map(len, places))
        pairs = [
            {name: row[name][place if place < len(own) else 0] for name in row if name in INPUTS}
            for row, own in zip(rows, places, strict=True)
            for place in range(most)
        ]
        stacked = {name: one.reshape(len(rows), most, -1) for name, one in pad(pairs).items()}
        return stacked | _labels(pad, rows) | {"places": _filled_up(places)}

    return collate


def _labels(pad: Pad, rows: list[dict]) -> dict[str, Any]:
    return pad([{"labels": row["labels"]} for row in rows]) if "labels" in rows[0] else {}


def _filled_up(places: list[list[int]]):
    """`(rows, options)`, filled up with -1."""
    import torch

    most = max(map(len, places))
    return torch.tensor([row + [-1] * (most - len(row)) for row in places])
