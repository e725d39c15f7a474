"""Texts without labels, beside few that have one."""

from __future__ import annotations

import dataclasses

from adaptkit.data.readers.options import Reading
from adaptkit.data.readers.read import read
from adaptkit.data.splits import Splits
from adaptkit.data.tables import Table
from adaptkit.errors import AdaptkitError, listed, nearest, quoted
from adaptkit.recipe.arguments import RecipeArguments
from adaptkit.recipe.head import trains_beside_probe
from adaptkit.tasks.base import Task
from adaptkit.utils.processes import log_main


def read_unlabelled(
    task: Task, arguments: RecipeArguments, splits: Splits, reading: Reading
) -> Table | None:
    """The rows of --unlabelled_file that no split has, each once; None if none is given.

    Labels in the file are not read.

    Raises:
        AdaptkitError: the task has not one label a text, its head does not start from a probe, the
            file cannot be read, or no row is left.
    """
    file = arguments.file_for_probe()
    if not file:
        return None
    if not (task.one_label and trains_beside_probe(arguments, task)):
        raise AdaptkitError(
            "--unlabelled_file helps the probe that a new head starts from: it is for classify and "
            "relate with one label a text, a --method other than full, and --head_start probe."
        )
    parts = (task.column(part) for part in task.parts if part not in task.label_parts)
    wanted = dataclasses.replace(reading, wanted=tuple(column for column in parts if column))
    rows = without_labels(task, read(file, wanted))
    seen = {task.key(row) for _, table in splits.items() for row in table.rows}
    new = {key: row for row in rows.rows if (key := task.key(row)) not in seen}
    if not new:
        raise AdaptkitError(f"{file}: all {len(rows)} texts are in the other rows already.")
    if left_out := len(rows) - len(new):
        log_main(f"note: {left_out} texts of {file} are in the other rows, or twice, and left out")
    return rows.with_rows(list(new.values()))


def without_labels(task: Task, table: Table) -> Table:
    """The rows of --unlabelled_file as the task reads them, their labels left out.

    Raises:
        AdaptkitError: a row cannot be read, or a column of the training rows is missing (with the
            closest name).
    """
    try:
        return task.read(table, labelled=False)
    except AdaptkitError:
        parts = {part: task.column(part) or part for part in task.input_fields()}
        missing = [part for part, column in parts.items() if column not in table.columns]
        if not missing:
            raise
        raise _no_column(table, missing[0], parts[missing[0]]) from None


def _no_column(table: Table, part: str, column: str) -> AdaptkitError:
    close = nearest(column, table.columns)
    guess = f" Did you mean {quoted(close)}?" if close else ""
    return AdaptkitError(
        f"--unlabelled_file {table.source} has no column {quoted(column)}, where the training rows "
        f"have their {part} (--{part}_column {column}); it has {listed(table.columns)}.{guess} "
        "Columns have the same names in all files: rename one, or give texts alone as a .txt file, "
        "one a line."
    )
