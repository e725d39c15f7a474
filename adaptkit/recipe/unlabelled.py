"""Texts without labels, beside few that have one."""

from __future__ import annotations

import dataclasses

from adaptkit.data.readers.options import Reading
from adaptkit.data.readers.read import read
from adaptkit.data.splits import Splits
from adaptkit.data.tables import Table
from adaptkit.errors import AdaptkitError
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
    rows = task.read(read(file, wanted), labelled=False)
    seen = {task.key(row) for _, table in splits.items() for row in table.rows}
    new = {key: row for row in rows.rows if (key := task.key(row)) not in seen}
    if not new:
        raise AdaptkitError(f"{file}: all {len(rows)} texts are in the other rows already.")
    if left_out := len(rows) - len(new):
        log_main(f"note: {left_out} texts of {file} are in the other rows, or twice, and left out")
    return rows.with_rows(list(new.values()))
