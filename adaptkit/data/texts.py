"""Texts and labels in the rows of a table, checked."""

from __future__ import annotations

from typing import Any

import regex

from adaptkit.data.tables import Table
from adaptkit.errors import AdaptkitError, nearest, quoted, shorten

MARKS = r"\p{M}\u200c\u200d"  # marks and joiners: part of the character before them

LONGEST_TEXT = 2_000_000  # characters of one text, some seconds of a tokenizer

_BEFORE = regex.compile(r"[\s\p{Default_Ignorable_Code_Point}]*")

_BEHIND = regex.compile(
    rf"[[\s\p{{Default_Ignorable_Code_Point}}]--[{MARKS}]]*$", regex.VERSION1 | regex.REVERSE
)


def visible_part(text: str, start: int, end: int) -> tuple[int, int]:
    """A span without the blanks and the invisible characters around it.

    Marks and joiners belong to the character before them and are kept behind it.

    >>> visible_part(" \u200bBern, \u200e", 0, 8)
    (2, 7)
    """
    start += len(_BEFORE.match(text[start:end])[0])
    return start, end - len(_BEHIND.search(text[start:end])[0])


def normalize_text(text: str) -> str:
    """Normalize a text for comparison: lower case, single blanks for white space."""
    return " ".join(text.casefold().split())


def read_texts(
    table: Table, columns: dict[str, str], longest: float = LONGEST_TEXT
) -> list[dict[str, Any]]:
    """One dict per row with the text of each part. columns: part -> its column.

    Raises:
        AdaptkitError: a text is missing, empty, not a string, or holds half of a surrogate pair.
    """
    for part, column in columns.items():
        table.need(column, f"{part}_column")
    return table.each(
        lambda index, row: {
            part: text_at(table, index, row, column, longest) for part, column in columns.items()
        }
    )


def text_at(
    table: Table,
    index: int,
    row: dict[str, Any],
    column: str,
    longest: float = LONGEST_TEXT,
) -> str:
    """The text in a column of a row, checked; of at most `longest` characters."""
    if column not in row:
        raise table.bad(index, f"the row has no {quoted(column)}.")
    text = row[column]
    if not isinstance(text, str):
        raise table.bad(index, f"column {column!r} holds {quoted(text)}, which is not a text.")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise table.bad(index, f"the text in column {column!r} holds half of a surrogate pair.")
    if not text.strip():
        raise table.bad(index, f"the text in column {column!r} is empty.")
    if len(text) > longest:
        raise table.bad(
            index,
            f"the text in column {column!r} has {len(text):,} characters; {longest:,} at most are "
            "one text. Is a quote left open? Cut longer texts into rows.",
        )
    return text


def unknown_label(table: Table, index: int, label: str, labels: list[str]) -> AdaptkitError:
    """The error for a label that is not in the training rows."""
    close = nearest(label, labels)
    guess = f" Did you mean {quoted(close)}?" if close else ""
    return table.bad(
        index,
        f"the label {quoted(label)} does not occur in the training data "
        f"({', '.join(map(shorten, labels[:20]))}).{guess}",
    )
