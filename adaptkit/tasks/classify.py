"""Classification of single texts and of pairs of texts, one label a row."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from adaptkit.data import Splits, Table, split_validation
from adaptkit.errors import AdaptkitError, nearest
from adaptkit.tasks.base import Task


class Classify(Task):
    """One of n labels for a text, or for a text and its pair."""

    name = "classify"
    auto_class = "AutoModelForSequenceClassification"
    best_metric = "accuracy"
    columns = {"text": "text", "text_pair": None, "label": "label"}

    def prepare(self, splits: Splits, columns: dict[str, str], seed: int) -> tuple[Splits, list[str]]:
        for _, table in splits.items():
            for part, column in columns.items():
                table.need(column, f"{part}_column")
            self.check(table, columns)
        counts = Counter(label_of(row, columns) for row in splits.train.rows)
        labels = sorted(counts, key=lambda name: (0, float(name), name) if _is_number(name) else (1, 0.0, name))
        if len(labels) == 1:
            raise AdaptkitError(
                f"{splits.train.source}: every row has the label {labels[0]!r}; there is nothing to tell apart. "
                "Is --label_column the right column?"
            )
        for _, table in splits.items()[1:]:
            self.check(table, columns, labels)
        if splits.validation is None:
            gold = [label_of(row, columns) for row in splits.train.rows]
            train, validation = split_validation(splits.train, gold, seed)
            if not len(validation):
                raise AdaptkitError(
                    f"{splits.train.source}: {len(gold)} rows with one for each label are too few to cut a validation split from; "
                    "give --validation_file."
                )
            note = (
                f"no validation data given: {len(validation)} of {len(gold)} training rows cut off for it (stratified, seed {seed})"
            )
            splits = Splits(train, validation, splits.test, [*splits.notes, note])
        return splits, labels

    def check(self, table: Table, columns: dict[str, str], labels: list[str] | None = None) -> None:
        check_texts(table, [columns[part] for part in ("text", "text_pair") if part in columns])
        _check_labels_given(table, columns["label"])
        if labels is not None:
            _check_labels_known(table, columns, labels)

    def encode(self, table: Table, columns: dict[str, str], tokenizer, labels: list[str], max_length: int | None):
        from datasets import Dataset

        texts = [[str(row[columns[part]]) for row in table.rows] for part in ("text", "text_pair") if part in columns]
        encoded = dict(tokenizer(*texts, truncation=True, max_length=max_length))
        encoded["length"] = [len(ids) for ids in encoded["input_ids"]]
        if columns.get("label") in table.columns:
            index = {label: number for number, label in enumerate(labels)}
            encoded["labels"] = [index[label_of(row, columns)] for row in table.rows]
        return Dataset.from_dict(encoded)

    def collator(self, tokenizer):
        from transformers import DataCollatorWithPadding

        return DataCollatorWithPadding(tokenizer)

    def metrics(self, outputs: np.ndarray, gold: np.ndarray) -> dict[str, float]:
        from adaptkit.metrics.classification import Classification

        return Classification().compute(predictions=outputs.argmax(-1), references=gold)

    def decode(self, outputs: np.ndarray, labels: list[str]) -> list[dict[str, Any]]:
        shifted = np.exp(outputs - outputs.max(-1, keepdims=True))
        shares = shifted / shifted.sum(-1, keepdims=True)
        best = outputs.argmax(-1)
        return [{"label": labels[i], "score": round(float(row[i]), 6)} for i, row in zip(best, shares, strict=True)]


def label_of(row: dict[str, Any], columns: dict[str, str]) -> str:
    """A row's label, as text."""
    return str(row[columns["label"]]).strip()


def check_texts(table: Table, text_columns: list[str]) -> None:
    """Refuse rows whose text is missing, empty or not a text."""
    for index, row in enumerate(table.rows):
        for column in text_columns:
            text = row.get(column)
            if not isinstance(text, str):
                raise AdaptkitError(f"{table.where(index)}: column {column!r} holds {text!r}, which is not a text.")
            if any("\ud800" <= character <= "\udfff" for character in text):
                raise AdaptkitError(f"{table.where(index)}: the text in column {column!r} holds half of a surrogate pair.")
            if not text.strip():
                raise AdaptkitError(f"{table.where(index)}: the text in column {column!r} is empty.")


def _check_labels_given(table: Table, column: str) -> None:
    for index, row in enumerate(table.rows):
        label = row.get(column)
        if label is None or not str(label).strip() or isinstance(label, (list, dict)):
            raise AdaptkitError(f"{table.where(index)}: column {column!r} holds {label!r}, which is not one label.")


def _check_labels_known(table: Table, columns: dict[str, str], labels: list[str]) -> None:
    known = set(labels)
    for index, row in enumerate(table.rows):
        label = label_of(row, columns)
        if label not in known:
            close = nearest(label, labels)
            guess = f" Did you mean {close!r}?" if close else ""
            raise AdaptkitError(
                f"{table.where(index)}: the label {label!r} does not occur in the training data ({', '.join(labels[:20])}).{guess}"
            )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
