"""Tables of text: .csv with quoting, .tsv without."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptkit.errors import AdaptkitError
from adaptkit.readers.text import decode
from adaptkit.tables import Table

if TYPE_CHECKING:
    from adaptkit.readers import Reading


def read_csv(path: Path, reading: Reading) -> Table:
    """Commas, and quotes around fields that hold them."""
    return _read(path, reading, ",", csv.QUOTE_MINIMAL)


def read_tsv(path: Path, reading: Reading) -> Table:
    """Tabs; a quote is a character like others."""
    return _read(path, reading, "\t", csv.QUOTE_NONE)


def _read(path: Path, reading: Reading, delimiter: str, quoting: Any) -> Table:
    reader = csv.reader(io.StringIO(decode(path, reading.encoding), newline=""), delimiter=delimiter, quoting=quoting)
    records, lines, start = [], [], 1
    for fields in _records(reader, path):
        if fields:
            records.append(fields)
            lines.append(start)
        start = reader.line_num + 1
    if not records:
        raise AdaptkitError(f"{path} is empty: the first line should name the columns.")
    names, header, notes = _names(path, reading, records)
    for fields, line in zip(records, lines, strict=True):
        if len(fields) != len(names):
            raise AdaptkitError(
                f"{path}:{line}: {len(fields)} fields where the {'header' if header else 'first line'} has {len(names)} "
                f"({', '.join(names)}); is a delimiter in a text not quoted?"
            )
    rows = [dict(zip(names, fields, strict=True)) for fields in records[header:]]
    return Table(rows, str(path), lines[header:], notes)


def _records(reader: Any, path: Path) -> Iterator[list[str]]:
    try:
        yield from reader
    except csv.Error as problem:
        raise AdaptkitError(f"{path}:{reader.line_num}: {problem}; is a quote not closed?") from None


def _names(path: Path, reading: Reading, records: Sequence[list[str]]) -> tuple[list[str], int, list[str]]:
    """The columns' names, how many lines the header takes (0 or 1), and what was guessed."""
    first = records[0]
    if reading.column_names:
        names = list(reading.column_names)
        if len(names) != len(first):
            raise AdaptkitError(f"{path}:1: --column_names gives {len(names)} names, the first line has {len(first)} fields.")
        return names, int(first == names), []
    if _is_header(first, records, reading.wanted):
        if double := [name for name in first if first.count(name) > 1]:
            raise AdaptkitError(f"{path}:1: the column {double[0]!r} is there twice.")
        return first, 1, []
    names = _guess(records, reading.wanted)
    if names is None:
        raise AdaptkitError(
            f"{path}:1: the first line looks like a row and not like the names of the columns: {' | '.join(first)[:120]}. "
            f"Name its {len(first)} columns with --column_names."
        )
    return names, 0, [f"{path.name} has no header line: its columns are taken as {', '.join(names)} (--column_names names others)"]


def _is_header(first: list[str], records: Sequence[list[str]], wanted: Sequence[str]) -> bool:
    """Whether a line names the columns: it has a name that is asked for, or nothing in it looks like data."""
    if set(first) & set(wanted):
        return True
    rows = [row for row in records[1:2000] if len(row) == len(first)]
    return not any(
        len(cell) > 60
        or _is_number(cell)
        or cell.rstrip().endswith((".", "!", "?", "。", "！", "？"))
        or any(row[column] == cell for row in rows)
        for column, cell in enumerate(first)
    )


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _guess(records: Sequence[list[str]], wanted: Sequence[str]) -> list[str] | None:
    """Names for two columns of which one may be a label; None where it is not plain."""
    if len(records[0]) != len(wanted) or len(wanted) != 2:
        return None
    rows = [row for row in records[:2000] if len(row) == 2]
    different = [len({row[column] for row in rows}) for column in (0, 1)]
    text, other = wanted
    return [other, text] if other in ("label", "score") and different[0] < different[1] else [text, other]
