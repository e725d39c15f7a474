"""What a task is: how rows become tensors, which head, which metric, how outputs become answers.

A task holds no state and no model; everything that it needs is passed in.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

    from adaptkit.data import Splits, Table


class Task:
    """Base class of all tasks."""

    name: ClassVar[str]
    auto_class: ClassVar[str]  # the transformers Auto class that builds the model with this task's head
    best_metric: ClassVar[str]  # by which the best epoch is chosen
    loss_counts_items: ClassVar[bool] = False  # the model's loss divides by the number of items that Trainer passes
    columns: ClassVar[dict[str, str | None]]  # what a row has -> the column where it is by default

    def prepare(self, splits: Splits, columns: dict[str, str], seed: int) -> tuple[Splits, list[str]]:
        """Check every row, cut a validation split where there is none. Returns the splits and the labels in order."""
        raise NotImplementedError

    def check(self, table: Table, columns: dict[str, str], labels: list[str] | None = None) -> None:
        """Refuse bad rows, and answers that are not among `labels` where these are given, by file and line."""
        raise NotImplementedError

    def encode(self, table: Table, columns: dict[str, str], tokenizer: PreTrainedTokenizerBase, labels, max_length) -> Dataset:
        """The model's inputs, one row each, not padded; with `labels` where the table has them, and `length`."""
        raise NotImplementedError

    def collator(self, tokenizer: PreTrainedTokenizerBase) -> Callable:
        """What makes a batch of encoded rows."""
        raise NotImplementedError

    def metrics(self, outputs: np.ndarray, gold: np.ndarray) -> dict[str, float]:
        """The metrics of a whole split, from the model's outputs."""
        raise NotImplementedError

    def decode(self, outputs: np.ndarray, labels: list[str]) -> list[dict[str, Any]]:
        """The model's outputs as answers, one a row."""
        raise NotImplementedError
