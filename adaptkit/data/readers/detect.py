"""Which format is a file in? One table: a reader, the endings it goes by, and how it looks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from adaptkit.data.readers import (
    conll,
    conllu,
    fasttext,
    lines,
    objects,
    semeval,
    squad,
    tmx,
    yaml_objects,
)
from adaptkit.data.readers.exports import brat
from adaptkit.data.readers.file import File
from adaptkit.data.readers.options import Reading
from adaptkit.data.readers.refused import refuse_binary, refuse_text
from adaptkit.data.readers.tables import columnar, delimited, spreadsheet
from adaptkit.data.tables import Table
from adaptkit.errors import AdaptkitError

Reader = Callable[[File, Reading], Table]
Looks = Callable[[File], bool]

_TABLES = (".csv", ".tsv")
_TEXTS = (".tsv", ".json", ".jsonl", ".ndjson", ".yaml", ".yml")


@dataclass(frozen=True)
class Format:
    """A reader, and how its files are known.

    endings: of the files' names; they say it alone unless another format `looks`.
    magic: the first bytes, which count more than any ending.
    looks: True for a content that can be nothing else.
    never: endings that count more than the look.
    """

    read: Reader
    endings: tuple[str, ...] = ()
    magic: tuple[bytes, ...] = ()
    looks: Looks | None = None
    never: tuple[str, ...] = ()


# In the order in which contents are tried: the strictest look first.
FORMATS: dict[str, Format] = {
    "parquet": Format(columnar.read_parquet, (".parquet",), (b"PAR1",)),
    "arrow": Format(
        columnar.read_arrow, (".arrow", ".feather"), (columnar.ARROW_FILE, b"\xff\xff\xff\xff")
    ),
    "xlsx": Format(spreadsheet.read_xlsx, (".xlsx", ".xlsm")),
    "squad": Format(squad.read_squad, looks=squad.looks_like_squad, never=_TABLES),
    "jsonl": Format(objects.read_jsonl, (".jsonl", ".ndjson"), looks=objects.holds_lines),
    "json": Format(objects.read_json, (".json",), looks=objects.holds_list),
    "tmx": Format(tmx.read_tmx, (".tmx",), looks=lambda file: "<tmx" in file.text[:1000]),
    "yaml": Format(yaml_objects.read_yaml, (".yaml", ".yml")),
    "fasttext": Format(
        fasttext.read_fasttext, looks=lambda file: fasttext.looks_like_fasttext(file.filled)
    ),
    "semeval": Format(
        semeval.read_semeval, looks=lambda file: semeval.looks_like_semeval(file.filled)
    ),
    "conllu": Format(
        conllu.read_conllu,
        (".conllu",),
        looks=lambda file: conllu.looks_like_conllu(file.head),
    ),
    "conll": Format(
        conll.read_conll,
        (".conll", ".iob", ".iob2", ".bio"),
        looks=lambda file: conll.looks_like_conll(file.head),
        never=(".csv",),
    ),
    "csv": Format(delimited.read_csv, (".csv",)),
    "tsv": Format(delimited.read_tsv, (".tsv", ".tab")),
    "folder": Format(lines.read_folder),
    "brat": Format(brat.read_brat),
    "parallel": Format(lines.read_parallel),
    "words_beside": Format(lines.read_words_beside),
    "label_first": Format(lines.read_label_first),
    "lines": Format(lines.read_lines),
}

_ENDINGS = {ending: name for name, one in FORMATS.items() for ending in one.endings}


def detect(file: File, reading: Reading) -> str:
    """The name of a file's format: from its first bytes, its content, and its ending, in this
    order.

    Raises:
        AdaptkitError: it is a file that is known and not read; says how to convert it.
    """
    if file.path.is_dir():
        return "brat" if brat.looks_like_brat(file.path) else "folder"
    ending = file.ending
    if reading.labelled and reading.languages and ending == f".{reading.languages[0]}":
        return "parallel"
    if file.path.name == "seq.in":
        return "words_beside" if reading.labelled else "lines"
    if binary := _by_bytes(file):
        return binary
    refuse_text(file)
    if looks := _by_content(file, ending):
        return looks
    if ending in _TEXTS and _is_csv(file, reading):
        return "csv"
    if ending in _ENDINGS:
        return _ENDINGS[ending]
    return _guess(file, reading)


def check_named(file: File, name: str) -> None:
    """Refuse a binary file that is named as another format than its own."""
    if not file.path.is_dir() and (binary := _by_bytes(file)) not in (None, name):
        raise AdaptkitError(
            f"{file} is {binary} by its first bytes, and --format says {name}: leave --format out."
        )


def _by_bytes(file: File) -> str | None:
    raw = file.raw
    for name, one in FORMATS.items():
        if raw.startswith(one.magic):
            return name
    if raw.startswith(b"PK\x03\x04") and b"xl/workbook.xml" in raw:
        return "xlsx"
    refuse_binary(file)
    return None


def _by_content(file: File, ending: str) -> str | None:
    return next(
        (
            name
            for name, one in FORMATS.items()
            if one.looks and ending not in one.never and one.looks(file)
        ),
        None,
    )


def _guess(file: File, reading: Reading) -> str:
    """The format of a file whose ending says nothing."""
    filled = file.filled
    if len(reading.wanted) == 1:  # only the text is requested
        return "lines"
    if _is_csv(file, reading):
        return "csv"
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


def _is_csv(file: File, reading: Reading) -> bool:
    """True if the first line names two columns of the task, with a comma or semicolon between."""
    first = file.filled[0] if file.filled else ""
    return any(delimited.names_in(first, mark, reading.wanted) > 1 for mark in (",", ";"))
