"""Tables with a word a row, as Kaggle's NER data: sentence, word and tag in columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from adaptkit.data.tables import Table
from adaptkit.errors import AdaptkitError, listed

if TYPE_CHECKING:
    from adaptkit.data.readers.options import Reading

WORDS = ("word", "token", "words", "tokens")
TAGS = ("tag", "ner_tag", "ner", "label", "tags", "ner_tags", "labels")
SENTENCES = ("sentence #", "sentence_id", "sentence", "sentence_idx", "sent_id", "sentence_number")


def sentences_of(table: Table, reading: Reading) -> Table:
    """Rows of `tokens` and `tags`, if these are requested and the table has a word a row.

    A sentence begins where its column has another value; an empty cell is that of the row above.

    Raises:
        AdaptkitError: there are columns of words and tags, and none that tells sentences apart.
    """
    if not {"tokens", "tags"} <= set(reading.wanted) or "entities" in table.columns:
        return table
    names = {name.strip().casefold(): name for name in table.columns}
    word, tag, sentence = (
        next((names[name] for name in known if name in names), None)
        for known in (WORDS, TAGS, SENTENCES)
    )
    if word is None or table.rows[0][word].startswith("["):
        return table
    if tag is None and (reading.labelled or sentence is None):
        return table
    if sentence is None:
        raise AdaptkitError(
            f"{table.source} has a word a row ({word}, {tag}) and no column that tells sentences "
            f"apart; it has {listed(table.columns)}. Add one named sentence_id, the same in all "
            "words of a sentence."
        )
    return _grouped(table, word, tag, sentence)


def _grouped(table: Table, word: str, tag: str | None, sentence: str) -> Table:
    rows: list[dict[str, Any]] = []
    lines: list[int | str] = []
    given: Sequence[int | str] = table.lines or range(len(table))
    last = None
    for line, row in zip(given, table.rows, strict=True):
        name = row[sentence].strip() or last
        if not rows or name != last:
            rows.append({"tokens": []} | ({"tags": []} if tag else {}))
            lines.append(line)
            last = name
        rows[-1]["tokens"].append(row[word])
        if tag:
            rows[-1]["tags"].append(row[tag])
    note = f"{table.source}: a word a row; {len(rows)} sentences by {sentence!r}"
    return Table(rows, table.source, lines, [*table.notes, note])
