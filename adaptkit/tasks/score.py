"""Regression on a text or a text pair: similarity, rating, urgency."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from adaptkit.data.splits import Splits
from adaptkit.data.tables import Table
from adaptkit.errors import quoted
from adaptkit.metrics.row_scores import RowScores
from adaptkit.tasks.registry import register_task
from adaptkit.tasks.sequence import SequenceTask


@register_task
@dataclass(frozen=True)
class Score(SequenceTask):
    """A number for a text or a text pair; the head learns it scaled to mean 0 and spread 1.

    mean, spread: of the training scores. low, high: the smallest and largest training score,
        between
    which predictions are clipped. All four are fitted on the training rows.
    """

    mean: float = 0.0
    spread: float = 1.0
    low: float = -math.inf
    high: float = math.inf

    name = "score"
    problem_type = "regression"
    recordable = True
    parts = {"text": "text", "text_pair": None, "score": "score"}
    label_parts = ("score",)
    embedded = {"score": "urgency"}
    column_helps = {
        "text_pair": "column of a second text, for pairs",
        "score": "column of the number (default: score)",
    }
    best_metric = "spearmanr"
    changeable = ("text", "text_pair")
    smooths = False
    reported = ("spearmanr", "pearson", "mae", "mean_baseline_mae", "rmse")

    def read(self, table: Table, labelled: bool = True) -> Table:
        rows = self.read_texts(table, ("text", "text_pair"))
        if labelled:
            column = self.column("score") or "score"
            table.need(column, "score_column")
            for index, (row, given) in enumerate(zip(rows, table.rows, strict=True)):
                row["score"] = number_at(table, index, given, column)
        return table.with_rows(rows)

    def fit_labels(self, train: Table) -> Score:
        scores = np.asarray([row["score"] for row in train.rows])
        spread = float(scores.std()) or 1.0
        edges: dict[str, Any] = {"low": float(scores.min()), "high": float(scores.max())}
        return dataclasses.replace(
            self, labels=["score"], mean=float(scores.mean()), spread=spread, **edges
        )

    def target(self, row: dict[str, Any]) -> float:
        return (row["score"] - self.mean) / self.spread

    def loss(self, outputs, batch, labels, items, smoothing: float = 0.0):
        return ((outputs.logits.float().squeeze(-1) - labels) ** 2).sum() / items

    def decode(self, outputs: np.ndarray, encoded, table: Table) -> list[dict[str, Any]]:
        scores = np.clip(
            outputs[:, 0].astype(np.float64) * self.spread + self.mean, self.low, self.high
        )
        return [{"score": float(score)} for score in scores]

    def row_scores(self, answers, table: Table) -> RowScores:
        from adaptkit.metrics.regression import regression_rows

        return regression_rows(
            [answer["score"] for answer in answers], [row["score"] for row in table.rows]
        )

    def baseline(self, train: Table, table: Table) -> dict[str, float]:
        """The mean absolute error of always predicting the mean."""
        return {
            "mean_baseline_mae": float(
                np.mean([abs(row["score"] - self.mean) for row in table.rows])
            )
        }

    def reference_text(self, row: dict[str, Any]) -> str:
        return f"{row['score']:g}"

    def answer_text(self, answer: dict[str, Any]) -> str:
        return f"{answer['score']:.3f}"

    def findings(self, splits: Splits):
        from adaptkit.tasks.finding import Finding

        text = (
            f"scores from {self.low:g} to {self.high:g}, mean {self.mean:.3g}, spread "
            f"{self.spread:.3g}"
        )
        return [Finding("good" if self.low < self.high else "fail", text)]

    def render(self, row: dict[str, Any], tokenizer: Any) -> str:
        return (
            f"{tokenizer.decode(row['input_ids'])}  ->  {row['labels'] * self.spread + self.mean:g}"
        )


def number_at(table: Table, index: int, row: dict[str, Any], column: str) -> float:
    """The number in a column of a row.

    Raises:
        AdaptkitError: the value is missing or not finite.
    """
    try:
        value = float(row[column])
    except (KeyError, TypeError, ValueError):
        value = math.nan
    if not math.isfinite(value):
        raise table.bad(
            index,
            f"column {quoted(column)} holds {quoted(row.get(column))}, which is not a number.",
        )
    return value
