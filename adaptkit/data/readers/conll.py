"""CoNLL columns: a word and its tags a line, a blank line between sentences."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from adaptkit.data.tables import Table
from adaptkit.errors import AdaptkitError, quoted

if TYPE_CHECKING:
    from adaptkit.data.readers.file import File
    from adaptkit.data.readers.options import Reading

TAG = re.compile(r"O|[BIESMLUW]-\S+")
MOST_TAGS = 200  # different words of a column that may be types of entities

Line = tuple[int, list[str]]  # its number and its fields


def looks_like_conll(lines: Sequence[str]) -> bool:
    """True if the file has columns with blank lines between blocks, and one column holds tags.

    A few odd lines are for `read_conll` to name.
    """
    fields = [_fields(line) for line in lines if line.strip() and not _is_comment(line)][:200]
    if len(fields) < 2 or all(line.strip() for line in lines):
        return False
    width = max(map(len, fields), key=[len(row) for row in fields].count)
    regular = [row for row in fields if len(row) == width]
    if width < 2 or len(regular) < 0.9 * len(fields):
        return False
    return any(
        sum(bool(TAG.fullmatch(row[column])) for row in regular) >= 0.9 * len(regular)
        for column in range(1, width)
    )


def read_conll(file: File, reading: Reading) -> Table:
    """Rows of `tokens` and `tags`.

    The tags are in the last column that holds only tags, or in --tag_column (1 is the first). The
    words are in the first column, or in the second if the first numbers them.
    """
    sentences = _sentences(file)
    flat = [line for sentence in sentences for line in sentence]
    if not flat:
        return Table([], str(file))
    width = len(flat[0][1])
    for number, fields in flat:
        if len(fields) != width:
            raise AdaptkitError(
                f"{file}:{number}: {len(fields)} columns where the first line has {width}: "
                f"{quoted(' '.join(fields))}. Words and tags are in columns here, and a word "
                "holds no blank."
            )
    column, notes = _chosen(file, reading, flat, width)
    word = 1 if width > 2 and column > 1 and _numbered(sentences) else 0
    whole = column in _tag_columns([fields for _, fields in flat])
    rows = [
        {
            "tokens": [fields[word] for _, fields in sentence],
            "tags": [_tag(fields[column], whole) for _, fields in sentence],
        }
        for sentence in sentences
    ]
    place = f"{file.path.name}: tags are read from column {column + 1} of {width}"
    place += ", words from column 2" if word else ""
    return Table(rows, str(file), [sentence[0][0] for sentence in sentences], [place, *notes])


def _sentences(file: File) -> list[list[Line]]:
    """The lines of each sentence; comments stand before the first word of one."""
    sentences: list[list[Line]] = []
    open_sentence: list[Line] = []
    for number, line in file.lines():
        if line.strip() and not line.startswith("-DOCSTART-"):
            if open_sentence or not _is_comment(line):
                open_sentence.append((number, _fields(line)))
        elif open_sentence:
            sentences.append(open_sentence)
            open_sentence = []
    return [*sentences, open_sentence] if open_sentence else sentences


def _is_comment(line: str) -> bool:
    """`# id 17`, and not the word # with its tag."""
    return line.startswith("#") and not TAG.fullmatch(_fields(line)[-1])


def _fields(line: str) -> list[str]:
    """Columns separated by blanks or tabs only: a word may be another Unicode space."""
    return re.split(r"[ \t]+", line.strip(" \t\r"))


def _numbered(sentences: Sequence[Sequence[Line]]) -> bool:
    """True if the first column counts the words of each sentence."""
    return all(
        fields[0] in (str(count), str(count - 1))
        for sentence in sentences
        for count, (_, fields) in enumerate(sentence, 1)
    ) and any(len(sentence) > 1 for sentence in sentences)


def _tag_columns(rows: Sequence[Sequence[str]]) -> list[int]:
    return [
        column
        for column in range(1, len(rows[0]))
        if all(TAG.fullmatch(row[column]) for row in rows)
    ]


def _tag(text: str, whole: bool) -> str:
    """A tag; a type without B- or I- is one (IO, as Few-NERD writes)."""
    return text if whole or text == "O" else f"I-{text}"


def _chosen(
    file: File, reading: Reading, flat: Sequence[Line], width: int
) -> tuple[int, list[str]]:
    """The column of the tags, and notes on how they are read."""
    rows = [fields for _, fields in flat]
    found = _tag_columns(rows)
    if reading.tag_column is None:
        if found:
            return found[-1], []
        raise _no_tags(file, flat, width)
    column = reading.tag_column - 1
    if not 1 <= column < width:
        raise AdaptkitError(
            f"--tag_column {reading.tag_column}: {file} has {width} columns; the first holds "
            "the words."
        )
    if column in found:
        return column, []
    if _are_types(rows, column):
        return column, [
            f"the tags of column {column + 1} have no B- or I-: neighbours of one type are one "
            "entity"
        ]
    raise _no_tags(file, flat, width, column)


def _are_types(rows: Sequence[Sequence[str]], column: int) -> bool:
    """True if a column holds O and types of entities without B- and I-."""
    values = {row[column] for row in rows}
    return "O" in values and len(values) <= MOST_TAGS and not any(map(_has_prefix, values))


def _has_prefix(tag: str) -> bool:
    return tag != "O" and bool(TAG.fullmatch(tag))


def _no_tags(
    file: File, flat: Sequence[Line], width: int, column: int | None = None
) -> AdaptkitError:
    """The error for a file without a column of tags: names the most likely one and its first bad
    word.
    """
    rows = [fields for _, fields in flat]
    if column is None:
        column = max(
            range(1, width),
            key=lambda c: sum(bool(TAG.fullmatch(row[c])) for row in rows),
            default=0,
        )
    number, fields = next(((n, row) for n, row in flat if not TAG.fullmatch(row[column])), flat[0])
    types = [c for c in range(1, width) if _are_types(rows, c)]
    hint = (
        f"If column {types[-1] + 1} holds types without B- and I-, say --tag_column {types[-1] + 1}"
        if types
        else "Mend it or name the column with --tag_column"
    )
    return AdaptkitError(
        f"{file}:{number}: no column holds only tags such as O, B-PER, I-PER; here column "
        f"{column + 1} has {quoted(fields[column])}. {hint}."
    )
