"""Classification of texts and text pairs, with one label per row or any number of them."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from adaptkit.data.readers.decoding import is_number
from adaptkit.data.splits import Splits, divide, split_validation
from adaptkit.data.tables import Table
from adaptkit.data.texts import unknown_label
from adaptkit.errors import AdaptkitError, quoted
from adaptkit.metrics.row_scores import RowScores
from adaptkit.tasks.base import Task
from adaptkit.tasks.flags import flag
from adaptkit.tasks.labels.checks import label_findings, labels_of, majority
from adaptkit.tasks.labels.probable import ProbableLabels, six_digits
from adaptkit.tasks.labels.read import all_labels, read_labels, with_label_columns
from adaptkit.tasks.registry import register_task

if TYPE_CHECKING:
    import torch


@register_task
@dataclass(frozen=True)
class Classify(ProbableLabels):
    """One of n labels for a text or a text pair; with `multi_label` any number of labels.

    label_delimiter: separates several labels in one field.
    class_weights: weight rare labels as much as frequent ones; fitted on the training rows into
        `weights`.
    threshold: with `multi_label`, the probability from which a label is predicted.
    """

    label_delimiter: str = flag("|", "separator of several labels in one field")
    class_weights: bool = flag(False, "weight rare labels as much as frequent ones")
    threshold: float = flag(
        0.5, "with --multi_label: the probability from which a label is predicted"
    )
    weights: list[float] | None = None
    label_names: list[str] | None = flag(
        None, "names of labels that the files give as numbers from 0 on, in this order"
    )
    label_columns: list[str] | None = flag(
        None, "columns that are the labels, each with 1 or 0 (with --multi_label: detected)"
    )
    top_k: int | None = flag(None, stored=False)

    name = "classify"
    recordable = True
    pseudo_labels = True
    parts = {"text": "text", "text_pair": None, "label": "label"}
    embedded = {"label": "intent"}
    column_helps = {"text_pair": "column of a second text, for pairs"}
    how_split = "stratified"
    changeable: ClassVar[tuple[str, ...]] = ("text", "text_pair")
    best_metric = "accuracy"
    counted_by: ClassVar[tuple[str, ...]] = ("multi_label",)
    reported: ClassVar[tuple[str, ...]] = (
        "accuracy",
        "majority_baseline",
        "f1",
        "f1_micro",
        "precision",
        "recall",
        "matthews_correlation",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("label_names", "label_columns"):
            names = getattr(self, name)
            if names is not None and (
                not isinstance(names, list)
                or not all(isinstance(one, str) for one in names)
                or len(set(names)) != len(names)
            ):
                raise AdaptkitError(
                    f"{name} are different names in a list; they are {quoted(names)}."
                )

    def column(self, part: str) -> str | None:
        """The column of a part; none of the label if `label_columns` hold it."""
        by_columns = part == "label" and self.label_columns and not self.columns.get("label")
        return None if by_columns else super().column(part)

    def wanted(self) -> tuple[str, ...]:
        return (*super().wanted(), *(self.label_columns or ()))

    @property
    def problem_type(self) -> str | None:
        return "multi_label_classification" if self.multi_label else "single_label_classification"

    @property
    def one_label(self) -> bool:
        return not self.multi_label

    def read(self, table: Table, labelled: bool = True) -> Table:
        rows = self.read_texts(table, [part for part in self.parts if part not in self.label_parts])
        if not labelled:
            return table.with_rows(rows)
        labels, notes = read_labels(self, table)
        found = [row | {"label": label} for row, label in zip(rows, labels, strict=True)]
        return dataclasses.replace(table.with_rows(found), notes=notes)

    def prepare(self, splits: Splits, *args: Any, **options: Any) -> tuple[Splits, Task]:
        return Task.prepare(with_label_columns(self, splits.train), splits, *args, **options)

    def fit_labels(self, train: Table) -> Classify:
        counts = Counter(name for row in train.rows for name in labels_of(row))
        labels = sorted(all_labels(self, counts), key=_in_numeric_order)
        if len(labels) < (1 if self.multi_label else 2):
            raise AdaptkitError(
                f"{train.source}: every row has the label {quoted(''.join(labels))}; there is "
                "nothing to tell apart. Is --label_column the right column?"
            )
        if "nan" in map(str.casefold, labels) and all(map(is_number, labels)):
            index = [str(row["label"]).casefold() for row in train.rows].index("nan")
            raise train.bad(index, "the label is missing: all other labels are numbers, it is nan.")
        weights = None
        if self.class_weights:
            if self.multi_label:
                raise AdaptkitError("--class_weights and --multi_label do not go together.")
            weights = [len(train) / (len(labels) * counts[label]) for label in labels]
        return dataclasses.replace(self, labels=labels, weights=weights)

    def check_labels(self, table: Table) -> None:
        known = set(self.labels)
        for index, row in enumerate(table.rows):
            for name in labels_of(row):
                if name not in known:
                    raise unknown_label(table, index, name, self.labels)

    def split(self, table: Table, seed: int, share: float) -> tuple[Table, Table]:
        """Split stratified by label, equal texts on one side; not stratified with many labels."""
        groups = self.groups(table)
        first = {name: index for index, name in reversed(list(enumerate(groups)))}
        references = [self.reference_text(table.rows[index]) for index in first.values()]
        many = len(references) >= 20 and len(set(references)) > 2 * share * len(references)
        if self.multi_label or many:
            return super().split(table, seed, share)
        _, chosen = split_validation(
            Table([{"name": name} for name in first], table.source), references, seed, share
        )
        names = {row["name"] for row in chosen.rows}
        return divide(table, {index for index, name in enumerate(groups) if name in names})

    def target(self, row: dict[str, Any]) -> Any:
        if self.multi_label:
            return [float(label in row["label"]) for label in self.labels]
        return self.labels.index(row["label"])

    def loss(self, outputs, batch, labels, items, smoothing: float = 0.0):
        from torch.nn import functional

        logits = outputs.logits.float()
        if self.multi_label:
            known, labels = (labels != -100).float(), labels * (1 - smoothing) + smoothing / 2
            return (
                functional.binary_cross_entropy_with_logits(logits, labels, known, reduction="sum")
                / items
            )
        weight = _on_device(tuple(self.weights), logits.device) if self.weights else None
        return (
            functional.cross_entropy(
                logits, labels, weight, reduction="sum", label_smoothing=smoothing
            )
            / items
        )

    def decode(self, outputs: np.ndarray, encoded, table: Table) -> list[dict[str, Any]]:
        shares = self.shares(outputs)
        if self.top_k is not None:
            return [self._highest(row, self.top_k) for row in shares]
        if self.multi_label:
            return [self._chosen(row) for row in shares]
        best = outputs.argmax(-1)
        return [
            {"label": self.labels[i], "score": round(float(row[i]), 6)}
            for i, row in zip(best, shares, strict=True)
        ]

    def _highest(self, shares: np.ndarray, count: int) -> dict[str, Any]:
        order = [int(index) for index in np.argsort(-shares, kind="stable")[:count]]
        labels = [self.labels[index] for index in order]
        scores = [six_digits(shares[index]) for index in order]
        return {"labels": labels, "scores": dict(zip(labels, scores, strict=True))}

    def chosen(self, shares: Sequence[float] | np.ndarray) -> list[str]:
        """The labels that are probable enough, of several a text."""
        thresholds = self.thresholds or [self.threshold] * len(self.labels)
        return [
            label
            for label, share, least in zip(self.labels, shares, thresholds, strict=True)
            if share >= least
        ]

    def _chosen(self, shares: np.ndarray) -> dict[str, Any]:
        return {
            "labels": self.chosen(shares),
            "scores": {n: six_digits(share) for n, share in zip(self.labels, shares, strict=True)},
        }

    def row_scores(self, answers, table: Table) -> RowScores:
        from adaptkit.metrics.classification import classification, multi_label_rows

        pair = self._numbers(answers, table)
        if self.multi_label:
            return multi_label_rows(*pair)
        scores = RowScores(pair, classification)
        sure = all("score" in answer for answer in answers)
        return scores.beside(self.confidence_scores(answers, table)) if sure else scores

    def _numbers(self, answers, table: Table) -> tuple[np.ndarray, np.ndarray]:
        """Predictions and references as class indices `(rows,)`, or as 0 and 1 `(rows, labels)`."""
        if self.multi_label:
            pairs = (
                (answer["labels"], row["label"])
                for answer, row in zip(answers, table.rows, strict=True)
            )
            both = [
                [[int(name in names) for name in self.labels] for names in pair] for pair in pairs
            ]
            return np.asarray([one for one, _ in both]), np.asarray([two for _, two in both])
        number = {label: index for index, label in enumerate(self.labels)}
        return np.asarray([number[a["label"]] for a in answers]), np.asarray(
            [number[row["label"]] for row in table.rows]
        )

    def baseline(self, train: Table, table: Table) -> dict[str, float]:
        """The accuracy of always predicting the most frequent label."""
        guess = majority(self, train)[0]
        return {
            "majority_baseline": sum(self.reference_text(row) == guess for row in table.rows)
            / len(table)
        }

    def reference_text(self, row: dict[str, Any]) -> str:
        return self.label_delimiter.join(row["label"]) if self.multi_label else row["label"]

    def answer_text(self, answer: dict[str, Any]) -> str:
        return self.label_delimiter.join(answer["labels"]) if self.multi_label else answer["label"]

    def score_text(self, answer: dict[str, Any]) -> str:
        if not self.multi_label:
            return super().score_text(answer)
        return self.label_delimiter.join(f"{answer['scores'][name]:g}" for name in answer["labels"])

    def learned_nothing(self, answers, table: Table) -> str:
        given = {self.answer_text(answer) for answer in answers}
        if len(given) > 1 or len({self.reference_text(row) for row in table.rows}) < 2:
            return ""
        always = quoted(given.pop()) if any(given) else "no label"
        return f"the model always answers {always}: it has learned nothing about the texts"

    def details(self, answers, table: Table) -> list[dict[str, Any]]:
        from adaptkit.metrics.classification import confusion, table_by_label

        predictions, references = self._numbers(answers, table)
        if self.multi_label:
            return table_by_label(
                self.labels,
                (predictions & references).sum(0),
                predictions.sum(0),
                references.sum(0),
            )
        matrix = confusion(references, predictions, len(self.labels))
        return table_by_label(self.labels, np.diag(matrix), matrix.sum(0), matrix.sum(1))

    def pictures(self, folder: Path, answers, table: Table) -> list[bool]:
        from adaptkit.metrics.classification import confusion
        from adaptkit.utils.plots import draw_confusion

        if self.multi_label:
            return []
        predictions, references = self._numbers(answers, table)
        counts = confusion(references, predictions, len(self.labels))
        return [
            draw_confusion(folder / "confusion.png", counts, self.labels),
            self.draw_reliability(folder, answers, table),
        ]

    def findings(self, splits: Splits):
        return label_findings(self, splits)

    def render(self, row: dict[str, Any], tokenizer: Any) -> str:
        if not self.multi_label:
            return super().render(row, tokenizer)
        names = [label for label, given in zip(self.labels, row["labels"], strict=True) if given]
        return (
            f"{tokenizer.decode(row['input_ids'])}  ->  "
            f"{self.label_delimiter.join(names) or '(none)'}"
        )


def _in_numeric_order(label: str) -> tuple[bool, float, str]:
    number = float(label) if is_number(label) else math.nan
    return (False, number, label) if math.isfinite(number) else (True, 0.0, label)


@lru_cache(maxsize=4)
def _on_device(weights: tuple[float, ...], device: torch.device) -> torch.Tensor:
    """Label weights on the device of the logits; copied there once."""
    import torch

    with torch.inference_mode(False):  # training needs them too
        return torch.tensor(weights, device=device)
