"""Delimited tables: .csv with quoting, .tsv without."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from adaptkit.data.readers.tables.header import Record, table_of
from adaptkit.data.readers.tables.word_table import sentences_of
from adaptkit.data.tables import Table
from adaptkit.errors import AdaptkitError

if TYPE_CHECKING:
    from adaptkit.data.readers.file import File
    from adaptkit.data.readers.options import Reading

LONGEST = 10_000  # lines of a field; more are a quote that was left open
MARKS = (",", ";", "\t", "|")

_SEPARATOR = re.compile(r"sep=(.)\r?\n", re.I)  # Excel's first line


def read_csv(file: File, reading: Reading) -> Table:
    """Read .csv: commas or the first line's delimiter, quotes around fields that contain it."""
    text, told = file.text, _SEPARATOR.match(file.text)
    if told:
        text = text[told.end() :]
    delimiter = told[1] if told else delimiter_of(text, reading.wanted)
    blanks = _blanks_follow(_first_line(text), delimiter)
    with _long_fields():
        records = list(_quoted(file, text, delimiter, blanks, 2 if told else 1))
    table = sentences_of(table_of(file, reading, records), reading)
    if delimiter != ",":
        table.notes.append(f"{file.path.name} parts its fields by {delimiter!r}")
    return table


def read_tsv(file: File, reading: Reading) -> Table:
    """Read .tsv; quotes are ordinary characters."""
    records = [(number, line.split("\t")) for number, line in file.lines() if line]
    return sentences_of(table_of(file, reading, records), reading)


def delimiter_of(text: str, wanted: Sequence[str]) -> str:
    """The mark that parts requested names in the first line, else the first that is there.

    Semicolons are for spreadsheets with decimal commas.
    """
    first = _first_line(text)
    known = [mark for mark in MARKS if mark in first]
    return max(known, key=lambda mark: names_in(first, mark, wanted), default=",")


def names_in(line: str, delimiter: str, wanted: Sequence[str]) -> int:
    """How many of the requested columns a line names."""
    fields = {field.strip(' \t"\r') for field in line.split(delimiter)}
    return len(fields & set(wanted))


def _first_line(text: str) -> str:
    return next((line for line in text[:100_000].split("\n") if line.strip()), "").rstrip("\r")


def _blanks_follow(line: str, delimiter: str) -> bool:
    """True if a blank follows every delimiter, as in `text, label`: it belongs to no field."""
    parts = line.split(delimiter)[1:]
    return bool(parts) and all(part.startswith(" ") for part in parts)


@contextmanager
def _long_fields() -> Iterator[None]:
    """Python's csv module takes fields of any length while the block runs."""
    before = csv.field_size_limit(2**31 - 1)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _quoted(
    file: File, text: str, delimiter: str, blanks: bool, first_line: int
) -> Iterator[Record]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=blanks)
    start = first_line
    try:
        for fields in reader:
            if (lines := reader.line_num + first_line - start) > LONGEST:
                raise AdaptkitError(
                    f"{file}:{start}: a field of {lines} lines; is a quote not closed?"
                )
            if fields:
                yield start, fields
            start = reader.line_num + first_line
    except csv.Error as problem:
        raise AdaptkitError(f"{file}:{start}: {problem}; is a quote not closed?") from None
