"""What an adapter's answers add to the metrics, row by row and group by group."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from adaptkit.data.collate import IGNORED
from adaptkit.data.tables import Table
from adaptkit.metrics.row_scores import RowScores


@dataclass(frozen=True)
class Scored:
    """Labelled rows as an adapter read them, and what its answers to them add to the metrics.

    groups: all rows, then those of each group. tokens: a digest of the tokens that losses are of.
    """

    rows: Table
    groups: list[Group]
    tokens: str = ""


@dataclass(frozen=True)
class Group:
    """The rows of a group.

    answers: None if the task gives no answers. losses: of tasks whose loss is a metric.
    """

    name: str
    answers: RowScores | None
    losses: RowScores | None

    def scores(self, with_losses: bool) -> RowScores | None:
        """All metrics of these rows, or those of the answers alone; None if there are none."""
        if self.losses is None or not with_losses:
            return self.answers
        return self.answers.beside(self.losses) if self.answers else self.losses


def digest_of_tokens(encoded: Any, tokenizer: Any) -> str:
    """The same for encoded rows whose losses are of the same tokens, row by row.

    A perplexity counts tokens, so those of different vocabularies cannot be compared.
    """
    digest = hashlib.sha256(json.dumps(sorted(tokenizer.get_vocab().items())).encode())
    for labels in encoded["labels"]:
        digest.update(json.dumps([label for label in labels if label != IGNORED]).encode())
    return digest.hexdigest()
