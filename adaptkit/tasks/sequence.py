"""What tasks with one answer a text share: how a text is encoded, and what its head reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from adaptkit.data.tables import Table
from adaptkit.errors import unknown
from adaptkit.tasks.base import Task
from adaptkit.tasks.flags import flag

NATIVE, AUTO = "native", "auto"
POOLINGS = ("first", "mean", "last", "max", "attention")  # see `adaptkit.models.pooled`


def sequence_class(pooling: str) -> str:
    """The name of the Auto class whose head reads with this pooling."""
    if pooling in (NATIVE, AUTO):
        return "AutoModelForSequenceClassification"
    return f"AutoModelFor{pooling.title()}PooledClassification"


@dataclass(frozen=True)
class SequenceTask(Task):
    """A task that reads a text or a text pair, and whose head sees one vector of it.

    pooling: native (transformers' classifier of the architecture), or one of `POOLINGS`; `auto` is
        settled before training.
    """

    pooling: str = flag(  # cards from before there was a choice have none
        NATIVE,
        "what the head reads of a text: native (as in transformers' classifier of the base), "
        "first, mean, last, max, attention; auto: mean or first, by what a linear map can tell "
        "from them",
        flag_default=AUTO,
    )

    linear_head = True

    def __post_init__(self) -> None:
        if self.pooling not in (NATIVE, AUTO, *POOLINGS):
            raise unknown("pooling", self.pooling, (NATIVE, AUTO, *POOLINGS))

    @property
    def auto_class(self) -> str:  # type: ignore[override]
        return sequence_class(self.pooling)

    def features(
        self, table: Table, tokenizer, max_length: int, labelled: bool = True, train: bool = False
    ):
        texts = [
            [row[part] for row in table.rows]
            for part in ("text", "text_pair")
            if part in table.columns
        ]
        encoded = dict(tokenizer(*texts, truncation=True, max_length=max_length))
        encoded["length"] = [len(ids) for ids in encoded["input_ids"]]
        if labelled:
            encoded["labels"] = [self.target(row) for row in table.rows]
        return encoded

    def target(self, row: dict[str, Any]) -> Any:
        """What the head should give for a row: an index, or numbers."""
        raise NotImplementedError
