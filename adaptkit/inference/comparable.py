"""Which adapters can be compared: those with the same references, counted in the same way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from adaptkit.adapters.card import existing_card, task_of
from adaptkit.data.tables import Table
from adaptkit.errors import AdaptkitError, listed, quoted
from adaptkit.inference.predictor import with_columns
from adaptkit.tasks.base import Task


def comparable_tasks(folders: Sequence[str], columns: dict[str, str] | None) -> list[Task]:
    """The tasks of two adapters or more, read from their cards.

    Raises:
        AdaptkitError: fewer than two folders, a folder twice, a folder without an adapter, or
            adapters of different tasks, labels, columns of the reference, or ways of counting.
    """
    if len(folders) < 2:
        raise AdaptkitError(f"give two adapters or more to compare; there is {len(folders)}.")
    (path, times), *_ = Counter(Path(folder).resolve() for folder in folders).most_common(1)
    if times > 1:
        raise AdaptkitError(f"{path} is given {times} times: compare different adapters.")
    tasks = [with_columns(task_of(existing_card(Path(folder))), columns) for folder in folders]
    for folder, task in zip(folders[1:], tasks[1:], strict=True):
        if problem := _difference(folders[0], tasks[0], folder, task):
            raise AdaptkitError(f"{folders[0]} and {folder} cannot be compared: {problem}.")
    return tasks


def _difference(first: str, one: Task, second: str, two: Task) -> str | None:
    """What makes two tasks incomparable, in words."""
    if one.name != two.name:
        return f"the task of the first is {one.name}, that of the second {two.name}"
    if set(one.labels) != set(two.labels):
        only = [(first, _only(one, two)), (second, _only(two, one))]
        return "; ".join(f"only {name} has {labels}" for name, labels in only if labels)
    for part in one.label_parts:
        if (a := one.column(part)) != (b := two.column(part)):
            return (
                f"the first reads the {part.replace('_', ' ')} from {_named(a)}, the second from "
                f"{_named(b)}; name one for both with --{part}_column"
            )
    for name in one.counted_by:
        if (a := getattr(one, name)) != (b := getattr(two, name)):
            return f"{name} is {quoted(a)} for the first and {quoted(b)} for the second"
    return None


def _named(column: str | None) -> str:
    return f"column {quoted(column)}" if column else "no column"


def _only(one: Task, two: Task) -> str:
    known = set(two.labels)
    return listed([label for label in one.labels if label not in known], 5)


def check_references(
    task: Task, first: str, one: Table, second: str, two: Table, table: Table
) -> None:
    """Refuse two adapters that do not read the same references from a file.

    Args:
        one, two: the rows as each adapter reads them.
    """
    if len(one) != len(two):
        raise AdaptkitError(
            f"{table.source}: {first} reads {len(one)} rows and {second} {len(two)}: they cannot "
            "be compared row by row."
        )
    for index, rows in enumerate(zip(one.rows, two.rows, strict=True)):
        a, b = (_reference(task, row) for row in rows)
        if a != b:
            raise one.bad(
                index,
                f"the reference is {quoted(a)} to {first} and {quoted(b)} to {second}: they "
                "cannot be compared.",
            )


def _reference(task: Task, row: dict[str, Any]) -> Any:
    """What a row asks for: its label parts, or as text where they are part of something else."""
    own = {part: row[part] for part in task.label_parts if part in row}
    return own or task.reference_text(row)
