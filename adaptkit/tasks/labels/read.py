"""The labels of rows: one or several a row, in a field, a list, a mapping or a column each."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from adaptkit.data.labels import (
    NotALabelError,
    is_missing,
    label_key,
    parse_list,
    plain_value,
    settle,
    settled_notes,
    spell,
)
from adaptkit.data.tables import Table
from adaptkit.errors import AdaptkitError, quoted, shorten

if TYPE_CHECKING:
    from adaptkit.tasks.classify import Classify

ZERO, ONE = ("0", "false"), ("1", "true")  # keys of a label that is not given, and of one that is


def read_labels(task: Classify, table: Table) -> tuple[list[Any], list[str]]:
    """The label of each row, or its sorted labels with `multi_label`; and notes for the user.

    Spellings of one label become one name: that of the task's labels if it has some.

    Raises:
        AdaptkitError: the column is missing, or a row has no label; by file and line.
    """
    values, where, notes = _values(task, table)
    if task.multi_label:
        values = _named_indicators(task, table, values, where)
    rows = table.each(lambda index, _: _spellings(task, table, index, values[index], where))
    names = settle((label for row in rows for label in row), task.labels or task.label_names or ())
    notes += settled_notes(names)
    if not task.multi_label:
        return [names[row[0]] for row in rows], notes
    return [sorted({names[label] for label in row}) for row in rows], notes


def _values(task: Classify, table: Table) -> tuple[list[Any], str, list[str]]:
    """What holds the labels of each row, where that is, and a note."""
    column = task.column("label")
    if column is None:
        columns = task.label_columns or []
        for name in columns:
            table.need(name, "label_columns")
        note = f"the labels are the columns {_some(columns)}, which hold 1 or 0"
        rows = [{name: row.get(name) for name in columns} for row in table.rows]
        return rows, "the label columns", [note]
    if column not in table.columns and len(found := indicator_columns(task, table)) > 1:
        raise AdaptkitError(
            f"{table.source} has no column {column!r}. Are {_some(found)} the labels, which "
            f"hold 1 or 0? Then give --label_columns {' '.join(found)}"
            f"{'' if task.multi_label else ' (and --multi_label if a row may have several)'}."
        )
    table.need(column, "label_column")
    return [plain_value(row.get(column)) for row in table.rows], f"column {column!r}", []


def _some(names: list[str]) -> str:
    return ", ".join(map(shorten, names[:12])) + (", ..." if len(names) > 12 else "")


def indicator_columns(task: Classify, table: Table) -> list[str]:
    """The columns beside the texts that hold 0 or 1 in every row."""
    texts = {task.column(part) for part in task.parts}
    return [
        column
        for column in table.columns
        if column not in texts and all(_is_indicator(row.get(column)) for row in table.rows)
    ]


def with_label_columns(task: Classify, train: Table) -> Classify:
    """The task with the label columns that training rows have instead of a column of labels.

    Raises:
        AdaptkitError: --label_columns names fewer than two, one twice, or goes with --label_column.
    """
    if task.label_columns is None:
        column, found = task.column("label"), indicator_columns(task, train)
        if not task.multi_label or column in train.columns or len(found) < 2:
            return task
        return dataclasses.replace(task, label_columns=found)
    columns = task.label_columns
    if len(columns) == 1 and columns[0] not in train.columns:
        columns = [name.strip() for name in columns[0].split(",")]
    if task.columns.get("label"):
        raise AdaptkitError("give --label_column or --label_columns, not both.")
    if len(set(columns)) < 2 or len(set(columns)) < len(columns):
        raise AdaptkitError(
            f"--label_columns takes two or more different columns; it got {quoted(columns)}."
        )
    return dataclasses.replace(task, label_columns=columns)


def _is_indicator(value: Any) -> bool:
    try:
        return label_key(spell(value)) in (*ZERO, *ONE)
    except NotALabelError:
        return False


def _named_indicators(task: Classify, table: Table, values: list[Any], where: str) -> list[Any]:
    """Lists of 0 and 1, one number a label, as mappings of --label_names; other values as given."""
    lists = [_as_list(value) for value in values]
    lengths = {len(one) if one is not None else 0 for one in lists}
    names = task.label_names
    if task.labels and not names:  # then the labels of training were no such lists
        return values
    if len(lengths) != 1 or lengths <= {0, 1}:
        return values
    if not all(_is_indicator(item) for one in lists for item in one or ()):
        return values
    (length,) = lengths
    if names is None or len(names) != length:
        raise AdaptkitError(
            f"{table.where(0)}: {quoted(values[0])} in {where} is a 0 or 1 for each of {length} "
            f"labels. Name the {length} labels with --label_names, in this order"
            f"{'' if names is None else f'; it has {len(names)} names'}."
        )
    return [dict(zip(names, one or (), strict=True)) for one in lists]


def _spellings(task: Classify, table: Table, index: int, value: Any, where: str) -> list[str]:
    """The labels of a row as they are spelled: one, or any number with `multi_label`."""
    if isinstance(value, dict):
        names = _chosen(table, index, value, where)
    elif (several := _as_list(value)) is not None:
        names = several
    elif task.multi_label and isinstance(value, str):
        names = [part for part in value.split(task.label_delimiter) if not is_missing(part)]
    else:
        names = [value]
    if not task.multi_label and (len(names) != 1 or isinstance(value, list)):
        many = len(names) > 1 or isinstance(value, list | dict)
        hint = " Give --multi_label for rows with any number of labels." if many else ""
        raise table.bad(index, f"{quoted(value)} in {where} is not one label.{hint}")
    if task.multi_label:
        names = [name for name in names if not (isinstance(name, str) and is_missing(name))]
    return [
        _numbered(task, table, index, _spell(task, table, index, name, where)) for name in names
    ]


def _as_list(value: Any) -> list[Any] | None:
    """A list, also one that was written into a text."""
    return (
        value if isinstance(value, list) else parse_list(value) if isinstance(value, str) else None
    )


def _chosen(table: Table, index: int, value: dict[Any, Any], where: str) -> list[Any]:
    """The labels with 1 in a mapping of labels to 0 and 1."""
    for name, given in value.items():
        if not _is_indicator(given):
            raise table.bad(
                index, f"{where}: {quoted(name)} is {quoted(given)}; expected 1 or 0 for a label."
            )
    return [name for name, given in value.items() if label_key(spell(given)) in ONE]


def _spell(task: Classify, table: Table, index: int, value: Any, where: str) -> str:
    try:
        return spell(value)
    except NotALabelError as problem:
        hint = " A row without labels has an empty list or text." if task.multi_label else ""
        raise table.bad(index, f"the label in {where} {problem}.{hint}") from None


def _numbered(task: Classify, table: Table, index: int, label: str) -> str:
    """The name of a label that is given as a number; a name stays as it is."""
    names = task.label_names
    key = label_key(label)
    if names is None or label in names or key in map(label_key, names):
        return label
    if not key.isdecimal() or len(key) > 9 or int(key) >= len(names):
        known = f"--label_names has {len(names)} names, for 0 to {len(names) - 1}."
        raise table.bad(index, f"the label is {quoted(label)}: {known}")
    return names[int(key)]


def all_labels(task: Classify, labels: Iterable[str]) -> set[str]:
    """The labels of the training rows, and of label columns that hold no 1 in them."""
    return {*labels, *(task.label_columns or () if task.multi_label else ())}
