"""Read files of common formats, one function per format. The format is detected, or set by a flag.

csv tsv         a table; tsv has no quoting; without a header line, --column_names names the
                columns, or they are guessed
json jsonl parquet folder
                objects, one object per line, a table, LABEL/*.txt
conll           a word and its tags per line, a blank line between sentences
squad           questions on paragraphs, with answers by character
semeval         the blocks of SemEval-2010 task 8: number, "text with <e1> and <e2>", relation,
                comment
label_first     a label, a blank, a text
parallel        a line and its translation in two files, train.en and train.de
lines           one text per line
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from adaptkit.data.readers import conll, delimited, lines, objects
from adaptkit.data.readers.decoding import decode, lines_of
from adaptkit.data.readers.options import Reading
from adaptkit.data.tables import Table
from adaptkit.errors import AdaptkitError, check_exists, unknown
from adaptkit.utils.atomic_files import without_parts

Reader = Callable[[Path, Reading], Table]

FORMATS: dict[str, Reader] = {
    "csv": delimited.read_csv,
    "tsv": delimited.read_tsv,
    "json": objects.read_json,
    "jsonl": objects.read_jsonl,
    "parquet": objects.read_parquet,
    "squad": objects.read_squad,
    "folder": lines.read_folder,
    "conll": conll.read_conll,
    "semeval": conll.read_semeval,
    "label_first": lines.read_label_first,
    "parallel": lines.read_parallel,
    "lines": lines.read_lines,
}

_ENDINGS = {".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".parquet": "parquet"}

_OPAQUE = (
    ".xlsx",
    ".xls",
    ".zip",
    ".gz",
    ".bz2",
    ".xz",
    ".tar",
    ".pdf",
    ".docx",
    ".doc",
    ".pkl",
    ".bin",
    ".npy",
    ".db",
)


def read(path: str | Path, reading: Reading = Reading()) -> Table:
    """Read one file or text folder; `file.json#train+extra` reads parts of a JSON object of lists.

    Raises:
        AdaptkitError: the file does not exist (with the closest name), the format is unknown, a row
            is bad, or there are no rows.
    """
    path, parts = without_parts(str(path))
    if reading.format is not None and reading.format not in FORMATS:
        raise unknown("format", reading.format, FORMATS)
    check_exists(path)
    if parts:
        return objects.read_parts(path, parts.split("+"), reading)
    name = reading.format or detect(path, reading)
    table = FORMATS[name](path, replace(reading, format=name))
    table.read_as = name
    if not len(table):
        raise AdaptkitError(f"{path} holds no rows.")
    if (
        reading.format is None
        and path.suffix.lower() not in _ENDINGS
        and name not in ("folder", "json")
    ):
        table.notes.insert(0, f"{path.name} is read as {name} (--format names another)")
    return table


def _head(path: Path, reading: Reading) -> list[str]:
    """The first lines of a file."""
    return [text for _, text in lines_of(decode(path, reading.encoding)[:200_000])][:400]


def detect(path: Path, reading: Reading) -> str:
    """The name of a file's format, from its extension and, if ambiguous, its first lines."""
    if path.is_dir():
        return "folder"
    ending = path.suffix.lower()
    if reading.labelled and reading.languages and ending == f".{reading.languages[0]}":
        return "parallel"
    if ending == ".tsv" and conll.looks_like_conll(_head(path, reading)):
        return "conll"
    if ending in _ENDINGS:
        return _ENDINGS[ending]
    if ending == ".json":
        return (
            "squad"
            if objects.looks_like_squad(path)
            else "jsonl"
            if objects.looks_like_lines(path)
            else "json"
        )
    if ending in _OPAQUE:
        raise AdaptkitError(
            f"{path}: the ending {ending!r} is not known; known formats: {', '.join(FORMATS)}."
        )
    head = _head(path, reading)
    filled = [line for line in head if line.strip()]
    if any(re.match(r'\d+\t".*<e1>.*</e1>', line) for line in filled[:8]):
        return "semeval"
    if conll.looks_like_conll(head):
        return "conll"
    if len(reading.wanted) == 1:  # only the text is requested
        return "lines"
    if (
        filled
        and "\t" in filled[0]
        and len({line.count("\t") for line in filled[:-1] or filled}) == 1
    ):
        return "tsv"
    labelled = reading.labelled and (not reading.wanted or "label" in reading.wanted)
    if labelled and lines.looks_label_first(filled):
        return "label_first"
    return "lines"
