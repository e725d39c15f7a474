"""From the records of a table to its rows: is the first line a header, and what are the columns?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from adaptkit.data.readers.decoding import is_number
from adaptkit.data.tables import Table
from adaptkit.errors import AdaptkitError, listed, quoted

if TYPE_CHECKING:
    from adaptkit.data.readers.file import File
    from adaptkit.data.readers.options import Reading

Record = tuple[int, list[str]]  # the line where a row begins, and its fields
Header = tuple[list[str], int, list[str]]  # names, number of header lines (0 or 1), notes

MOST_COLUMNS = 10_000


def table_of(file: File, reading: Reading, records: list[Record]) -> Table:
    """The rows of a table whose first record may name its columns; empty records are no rows.

    Raises:
        AdaptkitError: there are no records, a row has another number of fields, or the columns
            have no names.
    """
    blank = [line for line, fields in records if not fields]
    records = [(line, fields) for line, fields in records if fields]
    blank = [line for line in blank if records and records[0][0] < line < records[-1][0]]
    if not records:
        raise AdaptkitError(f"{file} is empty: the first line should name the columns.")
    if (count := len(records[0][1])) > MOST_COLUMNS:
        raise AdaptkitError(
            f"{file}:1: the first line has {count:,} fields; the most are {MOST_COLUMNS:,}. "
            "Are its line ends missing?"
        )
    notes: list[str] = []
    if len(reading.column_names or ()) != len(records[0][1]):  # else every column has a name
        records, notes = _without_empty_columns(file, records)
    names, header, found = _names(file, reading, records)
    for line, fields in records:
        if len(fields) != len(names):
            raise AdaptkitError(
                f"{file}:{line}: {len(fields)} fields where the "
                f"{'header' if header else 'first line'} has {len(names)} "
                f"({listed(names)}); is a delimiter in a text not quoted?"
            )
    rows = [dict(zip(names, fields, strict=True)) for _, fields in records[header:]]
    lines = [line for line, _ in records[header:]]
    return Table(rows, str(file), lines, [*notes, *found], blank=blank)


def _without_empty_columns(file: File, records: list[Record]) -> tuple[list[Record], list[str]]:
    """The records without the nameless empty columns that spreadsheets add at the end of a row.

    What is left of a row may be shorter or longer than the first line; that is an error later.
    """
    first = records[0][1]
    width = len(first)
    while width > 1 and not first[width - 1].strip():
        width -= 1
    longest = max(len(fields) for _, fields in records)
    if longest == width or any(
        cell.strip() for _, fields in records for cell in fields[width:longest]
    ):
        return records, []
    note = f"{file.path.name}: {longest - width} empty columns without a name are left out"
    return [(line, fields[:width]) for line, fields in records], [note]


def _names(file: File, reading: Reading, records: Sequence[Record]) -> Header:
    """The column names, the number of header lines, and what was guessed."""
    line, first = records[0]
    cells = [cell.strip() for cell in first]
    fields = [row for _, row in records]
    if reading.column_names:
        return _told(f"{file}:{line}", list(reading.column_names), cells, fields, reading.wanted)
    if _is_header(cells, fields, reading.wanted):
        twice = [name for name, count in Counter(cells).items() if count > 1 and name]
        if twice:
            raise AdaptkitError(f"{file}:{line}: the column {quoted(twice[0])} is there twice.")
        nameless = cells.count("") > 1
        return (
            [
                name or (f"column {number}" if nameless else "")
                for number, name in enumerate(cells, 1)
            ],
            1,
            [],
        )
    guessed = _guess(fields, reading.wanted)
    if guessed is None:
        raise AdaptkitError(
            f"{file}:{line}: the first line looks like a row and not like the names of the "
            f"columns: {quoted(' | '.join(first), 120)}. "
            f"Name its {len(first)} columns with --column_names."
        )
    name = file.path.name
    return (
        guessed,
        0,
        [
            f"{name} has no header line: its columns are taken as {', '.join(guessed)} "
            "(--column_names names others)"
        ],
    )


def _told(
    where: str,
    names: list[str],
    cells: list[str],
    records: Sequence[list[str]],
    wanted: Sequence[str],
) -> Header:
    """Names from --column_names, and whether the first line is a header nevertheless.

    Raises:
        AdaptkitError: the first line is a header with other names, or has another number of fields.
    """
    if len(names) != len(cells):
        raise AdaptkitError(
            f"{where}: --column_names gives {len(names)} names, the first line has "
            f"{len(cells)} fields: {quoted(' | '.join(cells))}."
        )
    first, given = ([_plain(name) for name in row] for row in (cells, names))
    if first == given:
        return names, 1, [f"{where} names the columns as --column_names does: it is no row"]
    if set(first) & {*given, *map(_plain, wanted)}:
        raise AdaptkitError(
            f"{where}: the first line names the columns ({listed(cells)}), and --column_names "
            f"gives others ({listed(names)}). Leave --column_names out and name columns of the "
            "file (as with --text_column), or delete the line."
        )
    if len(records) > 2 and _stands_out(cells, records):
        return (
            names,
            0,
            [
                f"{where} may name the columns ({listed(cells)}); with --column_names it is a row. "
                "Delete the line if it is a header"
            ],
        )
    return names, 0, []


def _plain(name: str) -> str:
    return "".join(name.casefold().split()).strip("\"'")


def _stands_out(cells: list[str], records: Sequence[list[str]]) -> bool:
    """True if nothing in a line looks like data, though other rows repeat values or are numbers."""
    rows = [row for row in records[1:2000] if len(row) == len(cells)]
    if not rows or not _is_header(cells, records, ()):
        return False
    return any(
        all(is_number(row[column]) for row in rows)
        or len({row[column] for row in rows}) <= len(rows) * 2 / 3
        for column in range(len(cells))
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
        or (cell and any(row[column] == cell for row in rows))
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
