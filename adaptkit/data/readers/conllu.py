"""CoNLL-U: the treebanks of Universal Dependencies. Source: universaldependencies.org/format.html

Ten columns a word: ID FORM LEMMA UPOS XPOS FEATS HEAD DEPREL DEPS MISC.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from adaptkit.data.tables import Table
from adaptkit.errors import AdaptkitError, quoted

if TYPE_CHECKING:
    from adaptkit.data.readers.file import File
    from adaptkit.data.readers.options import Reading

FIELDS, FORM, UPOS, HEAD = 10, 1, 3, 6
_ID = re.compile(r"(\d+)(-\d+|\.\d+)?")
_HEAD = re.compile(r"\d+|_")


def looks_like_conllu(lines: Sequence[str]) -> bool:
    """True if every line is a comment or a word: ten fields, its number first and its head's."""
    words = [line.split("\t") for line in lines if line.strip() and not line.startswith("#")]
    return (
        bool(words)
        and words[0][0].partition("-")[0] == "1"
        and all(
            len(fields) == FIELDS and _ID.fullmatch(fields[0]) and _HEAD.fullmatch(fields[HEAD])
            for fields in words[:-1] or words
        )
    )


def read_conllu(file: File, reading: Reading) -> Table:
    """Rows of `tokens`, `tags` and `text`.

    Tags are the parts of speech (UPOS), each word an entity of its own; --tag_column names another
    column. Words that a treebank joins or adds (IDs such as 3-4 and 3.1) are left out.
    """
    column = UPOS if reading.tag_column is None else reading.tag_column - 1
    if not 1 < column < FIELDS:
        raise AdaptkitError(f"--tag_column {reading.tag_column} is 3 to {FIELDS} in CoNLL-U.")
    rows: list[dict[str, Any]] = []
    numbers: list[int] = []
    words: list[list[str]] = []
    text = None
    for number, line in (*file.lines(), (0, "")):
        if line.startswith("#"):
            text = line.partition("=")[2].strip() if re.match(r"#\s*text\s*=", line) else text
        elif line.strip():
            words += _word(file, number, line)
            if len(numbers) == len(rows):
                numbers.append(number)
        elif words:
            rows.append(_row(words, text, column))
            words, text = [], None
    name = "parts of speech (UPOS)" if column == UPOS else f"column {column + 1}"
    note = f"{file.path.name}: tags are the {name}, each word an entity of its own"
    return Table(rows, str(file), numbers, [note])


def _word(file: File, number: int, line: str) -> list[list[str]]:
    """The fields of a line in a list, or none if it is no syntactic word."""
    fields = line.split("\t")
    found = _ID.fullmatch(fields[0])
    if len(fields) != FIELDS or not found:
        raise AdaptkitError(
            f"{file}:{number}: expected a number and {FIELDS - 1} more fields with tabs between, "
            f"as CoNLL-U has; it is {quoted(line)}."
        )
    return [] if found[2] else [fields]


def _row(words: list[list[str]], text: str | None, column: int) -> dict[str, Any]:
    tokens = [fields[FORM] for fields in words]
    tags = ["O" if fields[column] == "_" else f"B-{fields[column]}" for fields in words]
    return {"tokens": tokens, "tags": tags, "text": text or " ".join(tokens)}
