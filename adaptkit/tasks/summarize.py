"""Summarization of texts and dialogues."""

from __future__ import annotations

import re
from dataclasses import dataclass

from adaptkit.data.tables import Table
from adaptkit.metrics.row_scores import RowScores
from adaptkit.tasks.flags import Flag, flag
from adaptkit.tasks.registry import register_task
from adaptkit.tasks.rewrite import Rewrite


@register_task
@dataclass(frozen=True)
class Summarize(Rewrite):
    """A short text for a long one.

    Several references: a list, or columns summary1, summary2, ...
    """

    no_repeat_ngram_size: int = flag(
        0, "n-grams of this size never repeat in a summary; 0: no limit", flag_default=3
    )

    name = "summarize"
    request = "Summarize the following text.\n\n"
    parts = {"text": "text", "summary": "summary"}
    label_parts = ("summary",)
    recipe_flags = {
        "model_name_or_path": Flag(
            "SmolLM2-135M-Instruct",
            "pretrained chat model or encoder-decoder; untrained: a small encoder-decoder is made",
        ),
        "max_seq_length": Flag(256, "maximum length of the source text in tokens", int),
    }
    sides = ("text", "summary")
    reported = (
        "rougeL",
        "rouge1",
        "rouge2",
        "perplexity",
        "base_perplexity",
        "first_sentence_baseline_rougeL",
    )

    def row_scores(self, answers, table: Table) -> RowScores:
        from adaptkit.metrics.generation import rouge_rows

        return rouge_rows(
            [answer["text"] for answer in answers], [row["references"] for row in table.rows]
        )

    def baseline(self, train: Table, table: Table) -> dict[str, float]:
        """ROUGE-L of the first sentence."""
        first = [
            {"text": re.split(r"(?<=[.!?。！？])\s*|\n", row["source"].strip())[0]}
            for row in table.rows
        ]
        return {"first_sentence_baseline_rougeL": self.score(first, table)["rougeL"]}
