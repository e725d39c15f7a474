"""Run a model over encoded rows: batches of like lengths, answers in the order of the rows."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from tqdm.auto import tqdm

from adaptkit import tasks
from adaptkit.adapter import load_adapter
from adaptkit.base import load_tokenizer
from adaptkit.cards import read_card
from adaptkit.data import Table
from adaptkit.errors import AdaptkitError
from adaptkit.tasks.classify import check_texts

if TYPE_CHECKING:
    from datasets import Dataset


@torch.no_grad()
def predict(model: nn.Module, encoded: Dataset, collate, batch_size: int = 64, title: str = "predicting") -> np.ndarray:
    """The first output of `model` (logits) for every row, `(rows, ...)` in fp32, in the order of the rows.

    Args:
        model: put into evaluation mode; run in its own dtype.
        encoded: from `Task.encode`; `length` and `labels` are not given to the model.
        collate: from `Task.collator`.
    """
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    lengths = list(encoded["length"])
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    inputs = encoded.remove_columns([name for name in ("length", "labels") if name in encoded.column_names])
    found: list[np.ndarray | None] = [None] * len(encoded)
    bar = tqdm(total=len(order), desc=title, unit="rows", disable=not sys.stderr.isatty(), leave=False)
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        batch = collate([inputs[i] for i in chosen])
        outputs = model(**{key: value.to(device) for key, value in batch.items()})
        logits = outputs[0].float().cpu().numpy()
        for i, row in zip(chosen, logits, strict=True):
            found[i] = row
        bar.update(len(chosen))
    bar.close()
    model.train(was_training)
    return np.stack(found) if found else np.zeros((0, 0), dtype=np.float32)


class Predictor:
    """An adapter that answers: the base, the adapter, the tokenizer and the task, from one folder.

    Args:
        folder: an adapter with a task card, from a recipe or `save_adapter`.
        base_options: for `load_base`: quantize, dtype, device_map, ...

    Raises:
        AdaptkitError: no adapter there, or one without a task.
    """

    def __init__(self, folder: str | Path, **base_options):
        card = read_card(folder) if Path(folder).is_dir() else None
        if card is not None and card.task is None:
            raise AdaptkitError(f"{folder} has no task in its card: answer with adaptkit.load_adapter and your own code.")
        self.model = load_adapter(folder, **base_options)
        if card is None or card.base is None or card.task is None:
            raise AdaptkitError(f"{folder} has no task card (task.json).")
        self.card = card
        self.task = tasks.find(card.task)
        self.tokenizer = load_tokenizer(card.base, card.revision)

    def _outputs(self, table: Table, columns: dict[str, str], batch_size: int) -> tuple[np.ndarray, Dataset]:
        encoded = self.task.encode(table, columns, self.tokenizer, self.card.labels, self.card.max_length)
        return predict(self.model, encoded, self.task.collator(self.tokenizer), batch_size), encoded

    def answer(self, table: Table, columns: dict[str, str] | None = None, batch_size: int = 64) -> list[dict[str, Any]]:
        """One answer a row, in order, for classification `{"label": ..., "score": ...}`.

        `columns`: what a row has -> the column where it is; by default as in training.
        """
        columns = {part: column for part, column in (columns or self.card.columns).items() if part != "label"}
        trained_on = self.card.columns.keys() - {"label"}
        if columns.keys() != trained_on:
            raise AdaptkitError(
                f"this adapter was trained on {' and '.join(sorted(trained_on))}, not on {' and '.join(sorted(columns))}; "
                "give rows in a file with these columns."
            )
        for part, column in columns.items():
            table.need(column, f"{part}_column")
        check_texts(table, list(columns.values()))
        outputs, _ = self._outputs(table, columns, batch_size)
        return self.task.decode(outputs, self.card.labels)

    def evaluate(self, table: Table, columns: dict[str, str] | None = None, batch_size: int = 64) -> dict[str, float]:
        """The task's metrics on labelled rows.

        Raises:
            AdaptkitError: a column is missing, a text is empty, or a label is not one of the adapter's.
        """
        columns = columns or self.card.columns
        for part, column in columns.items():
            table.need(column, f"{part}_column")
        self.task.check(table, columns, self.card.labels)
        outputs, encoded = self._outputs(table, columns, batch_size)
        return self.task.metrics(outputs, encoded.with_format("numpy")["labels"][:])

    def __call__(self, *texts: str) -> list[dict[str, Any]]:
        """Answers to plain texts."""
        column = self.card.columns.get("text", "text")
        return self.answer(Table([{column: text} for text in texts], "text"), {"text": column})
