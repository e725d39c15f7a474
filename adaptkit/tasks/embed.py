"""Sentence embeddings, trained on pairs with the batch's other pairs as negatives."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np

from adaptkit.data.collate import Pad
from adaptkit.data.splits import Splits
from adaptkit.data.tables import Table
from adaptkit.errors import unknown
from adaptkit.metrics.row_scores import RowScores
from adaptkit.tasks.base import Task
from adaptkit.tasks.flags import flag
from adaptkit.tasks.registry import register_task
from adaptkit.tasks.score import number_at

POOLING = ("mean", "first")
FIRST = ("first", "cls")  # cls: sentence-transformers' word, and that of cards until 0.4


@register_task
@dataclass(frozen=True)
class Embed(Task):
    """A text as a vector of length 1. Pairs (`text`, `text_pair`) are pulled together.

    Without scores: multiple negatives ranking in both directions (Henderson et al. 2017; CLIP);
        each
    first text must find its own among all second texts of the batch. With `score`: the cosine is
    trained to match the score, scaled to 0..1 (as sentence-transformers' cosine loss).

    pooling: mean or first (or cls, the same). temperature: divides the cosines. low, high: the
    range of the training scores, fitted on the training rows.
    """

    pooling: str = flag(
        "mean", "what the vector of a text is: mean (of its tokens) or first (its first token)"
    )
    temperature: float = flag(0.05, "divides the cosines")
    low: float | None = None
    high: float | None = None

    name = "embed"
    auto_class = "AutoModel"
    recordable = True
    parts = {"text": "text", "text_pair": "text_pair", "score": None}
    label_parts = ("text_pair", "score")
    embedded = {"text": "summary", "text_pair": "text"}
    column_helps = {
        "text": "column of the first text (default: text)",
        "text_pair": "column of the second text (default: text_pair)",
        "score": "column of their similarity, if known",
    }
    reported = (
        "recall_at_1",
        "base_recall_at_1",
        "recall_at_5",
        "mean_reciprocal_rank",
        "spearmanr",
        "base_spearmanr",
    )
    inputs_per_row = 2
    base_knows = True
    changeable = ("text", "text_pair")

    def __post_init__(self):
        check_pooling(self.pooling)

    def read(self, table: Table, labelled: bool = True) -> Table:
        rows = self.read_texts(table, ("text", "text_pair") if labelled else ("text",))
        column = self.column("score")
        if labelled and column:
            table.need(column, "score_column")
            for index, (row, given) in enumerate(zip(rows, table.rows, strict=True)):
                row["score"] = number_at(table, index, given, column)
        return table.with_rows(rows)

    def fit_labels(self, train: Table) -> Embed:
        scores = [row["score"] for row in train.rows if "score" in row]
        return dataclasses.replace(self, low=min(scores), high=max(scores)) if scores else self

    @property
    def smooths(self) -> bool:
        return not self.column("score")

    @property
    def best_metric(self) -> str:
        return "spearmanr" if self.column("score") else "recall_at_1"

    def features(
        self, table: Table, tokenizer, max_length: int, labelled: bool = True, train: bool = False
    ):
        """With pairs, `pair_input_ids` beside `input_ids`."""
        cut = {"truncation": True, "max_length": max_length}
        encoded = dict(tokenizer([row["text"] for row in table.rows], **cut))
        encoded["length"] = [len(ids) for ids in encoded["input_ids"]]
        if labelled:
            pairs = tokenizer([row["text_pair"] for row in table.rows], **cut)
            encoded |= {f"pair_{key}": value for key, value in pairs.items()}
            encoded["length"] = [
                max(one, len(two))
                for one, two in zip(encoded["length"], pairs["input_ids"], strict=True)
            ]
            encoded["labels"] = [self._scaled(row.get("score")) for row in table.rows]
        return encoded

    def _scaled(self, score: float | None) -> float:
        if score is None or self.low is None or self.high is None:
            return 1.0
        return (score - self.low) / ((self.high - self.low) or 1.0)

    def collator(self, tokenizer):
        """Stack first texts and second texts into one batch of twice the rows."""
        pad = Pad.for_tokenizer(tokenizer)

        def collate(rows):
            names = [name for name in rows[0] if f"pair_{name}" in rows[0]]
            if not names:
                return pad(rows)
            both = [
                {name: row[prefix + name] for name in names}
                for prefix in ("", "pair_")
                for row in rows
            ]
            labels = pad([{"labels": row["labels"]} for row in rows]) if "labels" in rows[0] else {}
            return pad(both) | labels

        return collate

    def loss(self, outputs, batch, labels, items, smoothing: float = 0.0):
        import torch
        from torch.nn import functional

        one, two = self.pool(outputs, batch).chunk(2)
        if self.column("score"):
            return (((one * two).sum(-1) - labels) ** 2).sum() / items
        cosines = one @ two.T / self.temperature
        own = torch.arange(len(one), device=cosines.device)
        both = (
            functional.cross_entropy(c, own, reduction="sum", label_smoothing=smoothing)
            for c in (cosines, cosines.T)
        )
        return sum(both) / (2 * items)

    def pool(self, outputs, batch):
        """One vector of length 1 per text, `(texts, hidden)`."""
        return unit_vectors(outputs, batch, self.pooling)

    def postprocess(self, outputs, batch, labels):
        """`(rows, 2, hidden)`, or `(rows, 1, hidden)` without pairs."""
        import torch

        vectors = self.pool(outputs, batch)
        return torch.stack(vectors.chunk(2), 1) if labels is not None else vectors[:, None]

    def decode(self, outputs: np.ndarray, encoded, table: Table) -> list[dict[str, Any]]:
        """`{"embedding"}` of the first text, and `similarity` to the second if there is one."""
        answers: list[dict[str, Any]] = [{"embedding": row[0].tolist()} for row in outputs]
        if outputs.shape[1] == 2:
            cosines = (outputs[:, 0] * outputs[:, 1]).sum(-1)
            answers = [
                answer | {"pair_embedding": row[1].tolist(), "similarity": float(cosine)}
                for answer, row, cosine in zip(answers, outputs, cosines, strict=True)
            ]
        return answers

    def row_scores(self, answers, table: Table) -> RowScores:
        from adaptkit.metrics.regression import regression_rows
        from adaptkit.metrics.retrieval import retrieval_rows

        if self.column("score"):
            predictions, references = (
                [answer["similarity"] for answer in answers],
                [row["score"] for row in table.rows],
            )
            every = regression_rows(predictions, references)

            def correlations(*parts) -> dict[str, float]:
                scores = every.combine(*parts)
                return {name: scores[name] for name in ("spearmanr", "pearson")}

            return RowScores(every.parts, correlations)
        one, two = (
            np.asarray([answer[key] for answer in answers])
            for key in ("embedding", "pair_embedding")
        )
        return retrieval_rows(one, two, [row["text_pair"] for row in table.rows])

    def reference_text(self, row: dict[str, Any]) -> str:
        return row["text_pair"] if "score" not in row else f"{row['score']:g}"

    def answer_text(self, answer: dict[str, Any]) -> str:
        return f"{answer['similarity']:.4f}" if "similarity" in answer else ""

    def findings(self, splits: Splits):
        from adaptkit.tasks.finding import Finding

        found = []
        for name, table in splits.items():
            seconds = [row["text_pair"] for row in table.rows]
            double = len(seconds) - len(set(seconds))
            severity = (
                "warn" if double > 0.05 * len(seconds) and not self.column("score") else "good"
            )
            found.append(
                Finding(
                    severity,
                    f"{name}: {len(table)} pairs, {double} second texts repeat another and are "
                    "no fair negatives",
                )
            )
        return found

    def render(self, row: dict[str, Any], tokenizer: Any) -> str:
        return (
            f"{tokenizer.decode(row['input_ids'])}  <->  "
            f"{tokenizer.decode(row['pair_input_ids'])}  ({row['labels']:g})"
        )


def check_pooling(name: str) -> None:
    """Refuse a pooling that there is not."""
    if name not in (*POOLING, *FIRST):
        raise unknown("pooling", name, POOLING)


def unit_vectors(outputs: Any, batch: dict[str, Any], pooling: str) -> Any:
    """One vector of length 1 per text, `(texts, hidden)`, from the states of its tokens."""
    from torch.nn import functional

    states = outputs.last_hidden_state.float()
    if pooling in FIRST:
        return functional.normalize(states[:, 0], dim=-1)
    mask = batch["attention_mask"][..., None].to(states)
    return functional.normalize((states * mask).sum(1) / mask.sum(1).clamp(min=1), dim=-1)
