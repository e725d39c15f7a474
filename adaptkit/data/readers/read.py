"""Read files of common formats, one function per format. The format is detected, or set by a flag.

csv tsv         a table; tsv has no quoting; without a header line, --column_names names the
                columns, or they are guessed
json jsonl yaml parquet arrow xlsx folder
                objects, one object per line, tables, LABEL/*.txt; the exports of annotation tools
conll conllu    a word and its tags per line, a blank line between sentences
words_beside    seq.in and seq.out: words and their tags in two files
brat            a folder of .txt and .ann
squad           questions on paragraphs, with answers by character
semeval         the blocks of SemEval-2010 task 8: number, "text with <e1> and <e2>", relation,
                comment
label_first     a label, a blank, a text
fasttext        __label__NAME and a text
parallel tmx    a line and its translation in two files, train.en and train.de; in one
lines           one text per line

Files may be compressed: .gz, .bz2, .xz, and .zip with one file.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from adaptkit.data.readers.detect import FORMATS, check_named, detect
from adaptkit.data.readers.exports.recognize import rows_of
from adaptkit.data.readers.file import File
from adaptkit.data.readers.objects import read_parts
from adaptkit.data.readers.options import Reading
from adaptkit.data.tables import Table
from adaptkit.errors import AdaptkitError, check_exists, unknown
from adaptkit.utils.atomic_files import without_parts


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
    file = File(path, reading.encoding)
    if parts:
        return read_parts(file, parts.split("+"), reading)
    if reading.format is not None:
        check_named(file, reading.format)
    name = reading.format or detect(file, reading)
    table = FORMATS[name].read(file, replace(reading, format=name))
    if not len(table):
        raise AdaptkitError(f"{path} holds no rows.")
    table = rows_of(table, reading.labelled)
    table.read_as = name
    table.notes = [*file.notes, *table.notes]
    if table.blank and name != "lines":
        count, first = len(table.blank), table.blank[0]
        table.notes.append(f"{path.name}: empty lines are no rows: {count}, the first is {first}")
    if reading.format is None and not path.is_dir() and file.ending not in _endings(name):
        table.notes.insert(0, f"{path.name} is read as {name} (--format names another)")
    return table


def _endings(name: str) -> tuple[str, ...]:
    """The endings that say a format, or one that is the same for the user."""
    return (
        (*FORMATS[name].endings, ".json") if name in ("jsonl", "squad") else FORMATS[name].endings
    )
