"""Delimited tables: .csv with quoting, .tsv without."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from adaptkit.data.readers.decoding import decode, is_number, lines_of
from adaptkit.data.tables import Table
from adaptkit.errors import AdaptkitError

if TYPE_CHECKING:
    from adaptkit.data.readers.options import Reading

LONGEST = 10_000  # lines of a field; more are a quote that was left open

Record = tuple[int, list[str]]  # the line where a row begins, and its fields


def read_csv(path: Path, reading: Reading) -> Table:
    """Read .csv: commas or the first line's delimiter, quotes around fields that contain it."""
    text = decode(path, reading.encoding)
    delimiter = _delimiter(text)
    with _long_fields():
        records = list(_quoted(path, text, delimiter))
    table = _table(path, reading, records)
    if delimiter != ",":
        table.notes.append(f"{path.name} parts its fields by {delimiter!r}")
    return table


def read_tsv(path: Path, reading: Reading) -> Table:
    """Read .tsv; quotes are ordinary characters."""
    lines = lines_of(decode(path, reading.encoding))
    return _table(path, reading, [(number, line.split("\t")) for number, line in lines if line])


def _delimiter(text: str) -> str:
    """A comma, else the first line's semicolon (decimal-comma spreadsheets), tab or bar."""
    first = next((line for line in text[:100_000].splitlines() if line.strip()), "")
    return next((mark for mark in (",", ";", "\t", "|") if mark in first), ",")


@contextmanager
def _long_fields() -> Iterator[None]:
    """Python's csv module takes fields of any length while the block runs."""
    before = csv.field_size_limit(2**31 - 1)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _quoted(path: Path, text: str, delimiter: str) -> Iterator[Record]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    start = 1
    try:
        for fields in reader:
            if (lines := reader.line_num - start + 1) > LONGEST:
                raise AdaptkitError(
                    f"{path}:{start}: a field of {lines} lines; is a quote not closed?"
                )
            if fields:
                yield start, fields
            start = reader.line_num + 1
    except csv.Error as problem:
        raise AdaptkitError(f"{path}:{start}: {problem}; is a quote not closed?") from None


def _table(path: Path, reading: Reading, records: list[Record]) -> Table:
    if not records:
        raise AdaptkitError(f"{path} is empty: the first line should name the columns.")
    names, header, notes = _names(path, reading, [fields for _, fields in records])
    for line, fields in records:
        if len(fields) != len(names):
            raise AdaptkitError(
                f"{path}:{line}: {len(fields)} fields where the "
                f"{'header' if header else 'first line'} has {len(names)} "
                f"({', '.join(names)}); is a delimiter in a text not quoted?"
            )
    rows = [dict(zip(names, fields, strict=True)) for _, fields in records[header:]]
    return Table(rows, str(path), [line for line, _ in records[header:]], notes)


def _names(
    path: Path, reading: Reading, records: Sequence[list[str]]
) -> tuple[list[str], int, list[str]]:
    """The column names, the number of header lines (0 or 1), and what was guessed."""
    first = records[0]
    if reading.column_names:
        names = list(reading.column_names)
        if len(names) != len(first):
            raise AdaptkitError(
                f"{path}:1: --column_names gives {len(names)} names, the first line has "
                f"{len(first)} fields."
            )
        return names, int(first == names), []
    if _is_header(first, records, reading.wanted):
        if double := [name for name in first if first.count(name) > 1]:
            raise AdaptkitError(f"{path}:1: the column {double[0]!r} is there twice.")
        return first, 1, []
    guessed = _guess(records, reading.wanted)
    if guessed is None:
        raise AdaptkitError(
            f"{path}:1: the first line looks like a row and not like the names of the columns: "
            f"{' | '.join(first)[:120]}. "
            f"Name its {len(first)} columns with --column_names."
        )
    return (
        guessed,
        0,
        [
            f"{path.name} has no header line: its columns are taken as {', '.join(guessed)} "
            "(--column_names names others)"
        ],
    )


def _is_header(first: list[str], records: Sequence[list[str]], wanted: Sequence[str]) -> bool:
    """True if a line has a requested column name, or nothing in it looks like data."""
    if set(first) & set(wanted):
        return True
    rows = [row for row in records[1:2000] if len(row) == len(first)]
    return not any(
        len(cell) > 60
        or is_number(cell)
        or cell.rstrip().endswith((".", "!", "?", "。", "！", "？"))
        or any(row[column] == cell for row in rows)
        for column, cell in enumerate(first)
    )


def _guess(records: Sequence[list[str]], wanted: Sequence[str]) -> list[str] | None:
    """Names for two columns if one looks like a label, else None."""
    if len(records[0]) != len(wanted) or len(wanted) != 2:
        return None
    rows = [row for row in records[:2000] if len(row) == 2]
    different = [len({row[column] for row in rows}) for column in (0, 1)]
    text, other = wanted
    return (
        [other, text]
        if other in ("label", "score") and different[0] < different[1]
        else [text, other]
    )
