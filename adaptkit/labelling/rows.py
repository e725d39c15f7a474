"""Rows that have a label, and rows that could get one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from adaptkit.data.labels import is_missing, settle
from adaptkit.data.tables import Table
from adaptkit.errors import AdaptkitError
from adaptkit.tasks.classify import Classify


@dataclass(frozen=True)
class Labelled:
    """Rows with a label each, as `Classify.read` gives them; no text twice, the last one counts."""

    table: Table

    @property
    def labels(self) -> list[str]:
        return [row["label"] for row in self.table.rows]

    @classmethod
    def read(cls, task: Classify, tables: Iterable[Table]) -> Labelled:
        """The labelled rows of tables; rows without a label or a text are none.

        Raises:
            AdaptkitError: a label cannot be read, or a table has no column of texts.
        """
        rows: dict[str, dict[str, Any]] = {}
        source = "no rows"
        for table in tables:
            texts = rows_with_texts(task, table) if len(table) else []
            numbers = [i for i in texts if has_label(task, table.rows[i])]
            if not numbers:
                continue
            source = table.source
            found = task.read(table.take(numbers)).rows
            rows |= {task.key(row): row for row in found}
        names = settle((row["label"] for row in rows.values()), task.labels)
        named = [row | {"label": names[row["label"]]} for row in rows.values()]
        return cls(Table(named, source))


def rows_with_texts(task: Classify, table: Table) -> list[int]:
    """The numbers of the rows whose texts are all there.

    Raises:
        AdaptkitError: a column is missing.
    """
    columns = {part: own for part in task.changeable if (own := task.column(part))}
    for part, column in columns.items():
        table.need(column, f"{part}_column")
    return [
        index
        for index, row in enumerate(table.rows)
        if not any(is_missing(row.get(column)) for column in columns.values())
    ]


def has_label(task: Classify, row: dict[str, Any]) -> bool:
    """True if a row of a file has a label."""
    return not is_missing(row.get(task.column("label") or "label"))


def unlabelled_rows(task: Classify, table: Table, notes: list[str]) -> list[int]:
    """The numbers of the rows to label: with a text, without a label, the first of equal texts.

    Args:
        notes: gets what was left out.

    Raises:
        AdaptkitError: a column is missing, or no row is left.
    """
    texts = rows_with_texts(task, table)
    if empty := len(table) - len(texts):
        notes.append(f"rows without a text are left out: {empty}")
    open_ = [index for index in texts if not has_label(task, table.rows[index])]
    if not open_:
        raise AdaptkitError(
            f"{table.source} has no row to label: "
            + ("every row has a label." if texts else "no row has a text.")
        )
    keys = [task.key(row) for row in task.read(table.take(open_), labelled=False).rows]
    first = dict(zip(reversed(keys), reversed(open_), strict=True))
    if equal := len(open_) - len(first):
        notes.append(f"rows with the text of another are left out: {equal}")
    return sorted(first.values())
