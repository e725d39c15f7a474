"""Formats with several lines per row: CoNLL columns and the blocks of SemEval-2010 task 8."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from adaptkit.data.readers.decoding import decode, lines_of
from adaptkit.data.tables import Table
from adaptkit.errors import AdaptkitError

if TYPE_CHECKING:
    from adaptkit.data.readers.options import Reading

TAG = re.compile(r"O|[BIESMLUW]-\S+")

_MARKS = re.compile(r"<e([12])>(.*?)</e\1>")


def looks_like_conll(lines: Sequence[str]) -> bool:
    """True if the file has columns with blank lines between blocks, and one column holds tags."""
    filled = [line for line in lines if line.strip()][:200]
    fields = [_fields(line) for line in filled]
    if (
        len(filled) < 2
        or len(filled) == len(lines)
        or len(fields[0]) < 2
        or len({len(row) for row in fields}) > 1
    ):
        return False
    return bool(_tag_columns(fields))


def read_conll(path: Path, reading: Reading) -> Table:
    """Rows of `tokens` and `tags`.

    The tags are in the last column that holds only tags, or in --tag_column (1 is the first).
    """
    sentences, numbers, tokens = [], [], []
    for number, line in lines_of(decode(path, reading.encoding)):
        if line.strip() and not line.startswith("-DOCSTART-"):
            tokens.append((number, _fields(line)))
        elif tokens:
            sentences.append(tokens)
            tokens = []
    sentences += [tokens] if tokens else []
    flat = [pair for sentence in sentences for pair in sentence]
    if not flat:
        return Table([], str(path))
    width = len(flat[0][1])
    for number, fields in flat:
        if len(fields) != width:
            raise AdaptkitError(
                f"{path}:{number}: {len(fields)} columns where the first line has {width}: "
                f"{' '.join(fields)!r}"
            )
    column = _chosen(path, reading, flat, width)
    rows = []
    for sentence in sentences:
        tags = [fields[column] for _, fields in sentence]
        numbers.append(sentence[0][0])
        rows.append({"tokens": [fields[0] for _, fields in sentence], "tags": tags})
    return Table(
        rows,
        str(path),
        numbers,
        [f"{path.name}: tags are read from column {column + 1} of {width}"],
    )


def _fields(line: str) -> list[str]:
    """Columns separated by blanks or tabs only: a word may be another Unicode space."""
    return re.split(r"[ \t]+", line.strip(" \t\r"))


def _tag_columns(rows: Sequence[Sequence[str]]) -> list[int]:
    return [
        column
        for column in range(1, len(rows[0]))
        if all(TAG.fullmatch(row[column]) for row in rows)
    ]


def _chosen(path: Path, reading: Reading, flat, width: int) -> int:
    if reading.tag_column is not None:
        if not 2 <= reading.tag_column <= width:
            raise AdaptkitError(
                f"--tag_column {reading.tag_column}: {path} has {width} columns; the first holds "
                "the words."
            )
        return reading.tag_column - 1
    found = _tag_columns([fields for _, fields in flat])
    if found:
        return found[-1]
    almost = (
        max(
            range(1, width),
            key=lambda c: sum(bool(TAG.fullmatch(f[c])) for _, f in flat),
            default=0,
        )
        if width > 1
        else 0
    )
    number, fields = next(((n, f) for n, f in flat if not TAG.fullmatch(f[almost])), flat[0])
    raise AdaptkitError(
        f"{path}:{number}: no column holds only tags such as O, B-PER, I-PER; here column "
        f"{almost + 1} has {fields[almost]!r}. "
        "Mend it or name the column with --tag_column."
    )


def read_semeval(path: Path, reading: Reading) -> Table:
    """Rows of `text`, `head` and `tail` ({"start", "end"}; head is <e1>), and `label`.

    Quotes around the text are removed.
    """
    rows, numbers = [], []
    lines = [(number, line.strip()) for number, line in lines_of(decode(path, reading.encoding))]
    starts = [i for i, (_, line) in enumerate(lines) if re.match(r"\d+\t", line)]
    for i in starts:
        number, line = lines[i]
        text = line.split("\t", 1)[1].strip()
        text = text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' else text
        label = lines[i + 1][1] if i + 1 < len(lines) else ""
        marks = _MARKS.findall(text)
        if (
            sorted(number for number, _ in marks) != ["1", "2"]
            or not label
            or re.match(r"\d+\t|Comment", label)
        ):
            raise AdaptkitError(
                f"{path}:{number}: expected one <e1>..</e1>, one <e2>..</e2> and the relation on "
                "the next line."
            )
        plain, places = _unmark(text)
        rows.append({"text": plain, "head": places["1"], "tail": places["2"], "label": label})
        numbers.append(number)
    return Table(rows, str(path), numbers)


def _unmark(text: str) -> tuple[str, dict[str, dict[str, int]]]:
    """The text without its entity marks, and their positions."""
    plain, places, last = "", {}, 0
    for mark in _MARKS.finditer(text):
        plain += text[last : mark.start()]
        places[mark[1]] = {"start": len(plain), "end": len(plain) + len(mark[2])}
        plain += mark[2]
        last = mark.end()
    return plain + text[last:], places
