"""Summaries of texts and dialogues."""

from __future__ import annotations

import re
from dataclasses import dataclass

from adaptkit.tables import Table
from adaptkit.tasks.rewrite import Rewrite


@dataclass(frozen=True)
class Summarize(Rewrite):
    """A short text for a long one. Several references: a list, or columns summary1, summary2, ..."""

    name = "summarize"
    parts = {"text": "text", "summary": "summary"}
    gold = ("summary",)
    sides = ("text", "summary")
    reported = ("rougeL", "rouge1", "rouge2", "perplexity", "base_perplexity", "first_sentence_baseline_rougeL")

    def score(self, answers, table: Table) -> dict[str, float]:
        from adaptkit.metrics.generation import rouge

        return rouge([answer["text"] for answer in answers], [row["references"] for row in table.rows])

    def baseline(self, train: Table, table: Table) -> dict[str, float]:
        """ROUGE-L of the first sentence."""
        first = [{"text": re.split(r"(?<=[.!?。！？])\s*|\n", row["source"].strip())[0]} for row in table.rows]
        return {"first_sentence_baseline_rougeL": self.score(first, table)["rougeL"]}
