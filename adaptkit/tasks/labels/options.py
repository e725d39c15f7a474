"""The options of a row: a list, columns, or names with texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from adaptkit.data.tables import Table
from adaptkit.errors import AdaptkitError, nearest, quoted

Options = dict[str, str]  # name -> text; without names of their own, options are their own names


def read_options(
    table: Table, column: str | None, columns: Sequence[str] | None
) -> list[Options | None]:
    """The options of each row; None of rows without any.

    Args:
        column: of lists, of `{"text": [...], "label": [...]}`, or of `{name: text}`; None: the
            column `options`, if there is one.
        columns: that hold an option each; an empty one is none.

    Raises:
        AdaptkitError: a column is missing, or a row has fewer than two options or one twice.
    """
    if columns:
        for name in columns:
            table.need(name, "option_columns")
        return [
            _checked(table, i, {n: row[n] for n in columns if row.get(n) not in (None, "")})
            for i, row in enumerate(table.rows)
        ]
    if column is None and "options" not in table.columns:
        return [None] * len(table)
    column = column or "options"
    table.need(column, "options_column")
    return [
        None if row.get(column) is None else _checked(table, i, _named(table, i, row[column]))
        for i, row in enumerate(table.rows)
    ]


def raw_options(
    row: dict[str, Any], column: str | None, columns: Sequence[str] | None
) -> list[Any]:
    """The options of a row as the file has them; the arguments are those of `read_options`."""
    if columns:
        return [row.get(name) for name in columns]
    value = row[column or "options"]
    if isinstance(value, dict):
        return value["text"] if set(value) == {"text", "label"} else list(value.values())
    return value


def _named(table: Table, index: int, value: Any) -> dict[str, Any]:
    if isinstance(value, list):
        return {str(number): one for number, one in enumerate(value)} if value else {}
    if isinstance(value, dict) and set(value) == {"text", "label"}:
        names, texts = value["label"], value["text"]
        if isinstance(names, list) and isinstance(texts, list) and len(names) == len(texts):
            return dict(zip(map(str, names), texts, strict=True))
    if isinstance(value, dict):
        return {str(name): text for name, text in value.items()}
    raise table.bad(index, f"the options are {quoted(value)}, which is not a list of texts.")


def _checked(table: Table, index: int, options: dict[str, Any]) -> Options:
    texts = [
        str(text).strip() if isinstance(text, str | int | float) else ""
        for text in options.values()
    ]
    if len(texts) < 2 or "" in texts:
        raise table.bad(
            index, f"the options are {quoted(list(options.values()))}; a row has two or more texts."
        )
    if double := [text for text in texts if texts.count(text) > 1]:
        raise table.bad(index, f"the option {quoted(double[0])} is there twice.")
    return dict(zip(options, texts, strict=True))


def check_options(options: Any) -> None:
    """Refuse default options that are not two texts or more, or of which one is there twice."""
    whole = isinstance(options, list) and len(options) > 1
    if not whole or not all(isinstance(one, str) and one.strip() for one in options):
        raise AdaptkitError(
            f"--options takes two texts or more, each in quotes; it got {quoted(options)}."
        )
    if double := [one for one in options if options.count(one) > 1]:
        raise AdaptkitError(f"--options has {quoted(double[0])} twice; give each option once.")


def options_of(
    table: Table, index: int, row: dict[str, Any], default: Sequence[str] | None
) -> list[str]:
    """The options of a checked row, or the default ones.

    Raises:
        AdaptkitError: it has none and there are no default ones, or its label is none of them.
    """
    options = row.get("options") or default
    if not options:
        raise table.bad(
            index, "the row has no options; give them in a column (--options_column), or --options."
        )
    options = list(options)
    if "label" in row and row["label"] not in options:
        close = nearest(row["label"], options)
        hint = f" Did you mean {quoted(close)}?" if close else ""
        raise table.bad(
            index,
            f"the label {quoted(row['label'])} is none of the {len(options)} options.{hint}",
        )
    return options
