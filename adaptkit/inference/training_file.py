"""How the training file was read: what the card keeps of it, and new files read the same way.

What a flag of `predict` or `evaluate` says counts more than the card, and the card counts as far
as a file looks like the training file: it has its ending, its columns, its first words. Else the
file is read as any other.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from adaptkit.adapters.card import TaskCard
from adaptkit.data.labels import label_key
from adaptkit.data.readers.options import Reading
from adaptkit.data.readers.read import read
from adaptkit.data.tables import Table
from adaptkit.errors import AdaptkitError
from adaptkit.tasks.labels.checks import labels_of
from adaptkit.utils.atomic_files import without_parts

PACKED = (".gz", ".bz2", ".xz", ".zip")
LABEL_FIRST = ("label_first", "fasttext")
KNOWN_SHARE = 0.9  # of the first words of lines, which are labels if the rows have labels

Kept = dict[str, Any]


def kept_reading(train_file: str | None, reading: Reading, read_as: str | None) -> Kept:
    """What a card keeps: the ending of the training file, and what is not read by default.

    read_as: the format in which the file was read. It is kept if detection needs the labels of many
        rows for it; others are detected in each file.
    """
    if not train_file:
        return {}
    kept = {
        "format": reading.format or (read_as if read_as in LABEL_FIRST else None),
        "encoding": reading.encoding if not _is_utf8(reading.encoding) else None,
        "column_names": list(reading.column_names) if reading.column_names else None,
        "tag_column": reading.tag_column,
    }
    return {"ending": _ending(train_file)} | {k: v for k, v in kept.items() if v is not None}


def read_alike(path: str, card: TaskCard, given: Reading, given_encoding: str | None) -> Table:
    """The rows of a file, read as the training file was if it looks like it.

    Args:
        given: how to read the file by the flags of the user; what is None may come from the card.
        given_encoding: the encoding by the flags, if there is one.

    Raises:
        AdaptkitError: the file cannot be read, neither so nor by default.
    """
    plain = dataclasses.replace(given, encoding=given_encoding or "utf-8")
    for reading in _remembered(path, card.reading, plain, given_encoding):
        try:
            table = read(path, reading)
        except AdaptkitError:
            continue
        if _looks_alike(table, reading, card):
            if note := _note(path, reading, plain):
                table.notes.insert(0, note)
            return table
    return read(path, plain)


def _remembered(
    path: str, kept: Kept, plain: Reading, given_encoding: str | None
) -> Iterator[Reading]:
    """The readings to try, the one that is most like that of the training file first."""
    encoding = plain.encoding
    if given_encoding is None and "encoding" in kept and not _beyond_ascii_in_utf8(path):
        encoding = kept["encoding"]
    own = dataclasses.replace(plain, encoding=encoding)
    if kept.get("ending") == _ending(path):
        alike = dataclasses.replace(
            own,
            format=plain.format or kept.get("format"),
            tag_column=plain.tag_column or kept.get("tag_column"),
        )
        names = kept.get("column_names")
        if names and not plain.column_names:
            for some in (names, [n for n in names if n in plain.wanted], plain.wanted[:1]):
                yield dataclasses.replace(alike, column_names=tuple(some))
        yield alike
    if own != plain:
        yield own


def _looks_alike(table: Table, reading: Reading, card: TaskCard) -> bool:
    """True if the rows have the columns that the task reads, and labels where these come first.

    A first row that names columns is a header, so the names of the card are not needed.
    """
    if reading.column_names and {*reading.column_names, *reading.wanted} & {*_first_cells(table)}:
        return False
    inputs = card.columns.get("text")
    if inputs and inputs not in table.columns and "tokens" not in table.columns:
        return False
    if reading.labelled or table.read_as not in LABEL_FIRST:
        return True
    known = {label_key(label) for label in card.labels}
    firsts = [labels_of(row) for row in table.rows]
    right = sum(all(label_key(str(label)) in known for label in labels) for labels in firsts)
    return right >= KNOWN_SHARE * len(firsts)


def _first_cells(table: Table) -> list[str]:
    return [str(value).strip().casefold() for value in table.rows[0].values()]


def _note(path: str, reading: Reading, plain: Reading) -> str | None:
    """What comes from the card, in a line."""
    names = " ".join(reading.column_names or ())
    taken = {
        "format": reading.format != plain.format and reading.format,
        "encoding": reading.encoding != plain.encoding and reading.encoding,
        "column_names": reading.column_names != plain.column_names and names,
        "tag_column": reading.tag_column != plain.tag_column and reading.tag_column,
    }
    flags = [f"--{name} {value}" for name, value in taken.items() if value]
    return f"{Path(path).name} is read as the training file was: {' '.join(flags)}" * bool(flags)


def _ending(path: str) -> str:
    """The ending of a file, without that of its compression; nothing for a folder."""
    file, _ = without_parts(path)
    name = Path(file.stem) if file.suffix.lower() in PACKED else file
    return "/" if file.is_dir() else name.suffix.lower()


def _is_utf8(encoding: str) -> bool:
    return encoding.lower().replace("_", "-") in ("utf-8", "utf8", "utf-8-sig")


def _beyond_ascii_in_utf8(path: str) -> bool:
    """True if a file has characters beyond ASCII in UTF-8, which other texts hardly ever are."""
    file, _ = without_parts(path)
    if not file.is_file():
        return False
    raw = file.read_bytes()
    if raw.isascii() or b"\0" in raw:
        return False
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
