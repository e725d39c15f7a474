"""The file in which labels are collected: JSON lines or a table, one row a text."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from adaptkit.data.readers.options import Reading
from adaptkit.data.readers.read import read
from adaptkit.data.tables import Table
from adaptkit.errors import AdaptkitError
from adaptkit.labelling.pool import Proposal
from adaptkit.labelling.rows import has_label
from adaptkit.tasks.classify import Classify
from adaptkit.utils.atomic_files import new_file

GUESS = "guess"
ENDINGS = {".jsonl": "jsonl", ".csv": "csv"}
Row = dict[str, Any]


class LabelFile:
    """Labelled rows, and behind them rows that wait for a label. Each change is on disk at once.

    Args:
        path: ends in .jsonl or .csv; may exist.
        task: names the columns.
        source: the file that the rows come from, which this one must not be.

    Attributes:
        rows: the labelled rows.
        notes: what will be replaced.

    Raises:
        AdaptkitError: the file has another ending, is the source, or exists and cannot be read.
    """

    def __init__(self, path: str | Path, task: Classify, source: str | Path = "") -> None:
        self.path, self.label = Path(path), task.column("label") or "label"
        if self.path.suffix.lower() not in ENDINGS or self.path.is_dir():
            raise AdaptkitError(
                f"--output_file {path}: labels are collected in a file that ends in "
                f"{' or '.join(ENDINGS)}."
            )
        if self.path.exists() and Path(source).exists() and self.path.samefile(source):
            raise AdaptkitError(
                f"--output_file {path} is the file of the texts to choose from; name another."
            )
        self.format = ENDINGS[self.path.suffix.lower()]
        rows: list[Row] = []
        if self.path.is_file() and self.path.stat().st_size:
            rows = read(path, Reading(self.format, wanted=task.wanted())).rows
        self.rows = [row for row in rows if has_label(task, row)]
        waiting = len(rows) - len(self.rows)
        self.notes = [f"{path}: rows without a label are replaced: {waiting}"] if waiting else []

    @property
    def table(self) -> Table:
        """The labelled rows."""
        return Table(self.rows, str(self.path))

    def propose(self, table: Table, proposals: Sequence[Proposal]) -> None:
        """Put proposed rows behind the labelled ones; rows without a label are replaced."""
        guesses = any(one.guess is not None for one in proposals)
        self._write(
            [
                self._row(table, one, "") | ({GUESS: one.guess or ""} if guesses else {})
                for one in proposals
            ]
        )

    def add(self, table: Table, proposal: Proposal, label: str) -> None:
        """Put a row with its label behind the others."""
        self.rows.append(self._row(table, proposal, label))
        self._write([])

    def take_back(self) -> None:
        """Take the last row out."""
        self.rows.pop()
        self._write([])

    def _row(self, table: Table, proposal: Proposal, label: str) -> Row:
        return table.rows[proposal.row] | {self.label: label}

    def _write(self, waiting: list[Row]) -> None:
        rows = self.rows + waiting
        with new_file(self.path) as path:
            if self.format == "jsonl":
                lines = (json.dumps(row, ensure_ascii=False, default=str) for row in rows)
                path.write_text("".join(f"{line}\n" for line in lines), "utf-8")
                return
            columns = list(dict.fromkeys(column for row in rows for column in row))
            with path.open("w", encoding="utf-8", newline="") as file:
                writer = csv.DictWriter(file, columns, restval="")
                writer.writeheader()
                writer.writerows(rows)
