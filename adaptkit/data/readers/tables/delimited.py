"""Delimited tables: .csv with quotes, .tsv with those that a program wrote."""

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
    doubled = with_doubled_quotes(text, delimiter, blanks)
    with _long_fields():
        records = list(_quoted(file, doubled or text, delimiter, blanks, 2 if told else 1))
    table = sentences_of(table_of(file, reading, records), reading)
    if doubled:
        table.notes.append(f"quotes within fields of {file.path.name} have a backslash in front")
    if delimiter != ",":
        table.notes.append(f"{file.path.name} parts its fields by {delimiter!r}")
    return table


def read_tsv(file: File, reading: Reading) -> Table:
    """Read .tsv; quotes are ordinary characters unless `quotes_are_syntax`."""
    records = [(number, line.split("\t") if line else []) for number, line in file.lines()]
    with _long_fields():
        quoted = quotes_are_syntax([fields for _, fields in records if fields], file.text)
        if quoted:
            records = list(_quoted(file, file.text, "\t", False, 1))
    table = sentences_of(table_of(file, reading, records), reading)
    if quoted:
        table.notes.append(f"{file.path.name} has quotes around fields, as in .csv")
    return table


def quotes_are_syntax(plain: list[list[str]], text: str) -> bool:
    """True if the quotes in a .tsv are around fields, as pandas and R write them.

    Args:
        plain: the fields of each line, quotes included.
        text: of the whole file.

    They are if all fields have them, if some quoted field doubles a quote within and none is
    quoted in another way, or if only reading them makes all rows equally long.
    """
    if '"' not in text:
        return False
    opened = [field for fields in plain for field in fields if field.startswith('"')]
    written = [field for field in opened if _is_quoted(field)]
    everywhere = len(opened) == sum(map(len, plain))
    doubled = any('""' in field[1:-1] for field in written)
    if len(written) == len(opened) and (everywhere or doubled):
        return True
    if len({len(fields) for fields in plain}) < 2:
        return False
    strict = csv.reader(io.StringIO(text, newline=""), delimiter="\t", strict=True)
    try:
        return len({len(fields) for fields in strict if fields}) == 1
    except csv.Error:
        return False


def _is_quoted(field: str) -> bool:
    """True for a field as a program quotes it: at both ends, and doubled within."""
    return len(field) > 1 and field.endswith('"') and '"' not in field[1:-1].replace('""', "")


def with_doubled_quotes(text: str, delimiter: str, blanks: bool) -> str | None:
    r"""A table that writes `\"` for a quote within a field, as Spark and MySQL do, with `""`.

    None if it reads as it is, or does not read that way either.
    """
    if '\\"' not in text or _reads(text, delimiter, blanks):
        return None
    doubled = text.replace('\\"', '""')
    return doubled if _reads(doubled, delimiter, blanks) else None


def _reads(text: str, delimiter: str, blanks: bool) -> bool:
    lines = io.StringIO(text, newline="")
    with _long_fields():
        try:
            for _ in csv.reader(lines, delimiter=delimiter, skipinitialspace=blanks, strict=True):
                pass
        except csv.Error:
            return False
    return True


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
    lines: list[str] = []  # of the record that is read

    def each_line() -> Iterator[str]:
        for line in io.StringIO(text, newline=""):
            lines.append(line)
            yield line

    reader = csv.reader(each_line(), delimiter=delimiter, skipinitialspace=blanks)
    start = first_line
    try:
        for fields in reader:
            if len(lines) > LONGEST:
                raise AdaptkitError(
                    f"{file}:{start}: a field of {len(lines)} lines; is a quote not closed?"
                )
            if len(lines) > 1:  # text behind a closing quote: it was the opening one of a later row
                list(csv.reader(lines, delimiter=delimiter, skipinitialspace=blanks, strict=True))
            yield start, fields
            start += len(lines)
            lines.clear()
    except csv.Error as problem:
        raise AdaptkitError(f"{file}:{start}: {problem}; is a quote not closed?") from None
