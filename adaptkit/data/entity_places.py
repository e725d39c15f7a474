"""Whether the places of entities lie where words begin and end."""

from __future__ import annotations

from typing import Any

from adaptkit.data.tables import Table
from adaptkit.errors import AdaptkitError, quoted

FEW = 4  # entities, too few to tell that all of them are shifted


def refuse_shifted(table: Table, rows: list[dict[str, Any]]) -> None:
    """Refuse places that most entities do not have in their words: ends that look inclusive, and
    counts of other characters.
    """
    ends = [
        (entity["end"], {end for _, end in row["units"]})
        for row in rows
        for entity in row["entities"]
    ]
    cut = sum(end not in words and end + 1 in words for end, words in ends)
    if cut > 0.5 * len(ends):
        raise AdaptkitError(
            f"{table.source}: {cut} of {len(ends)} entities end one character before the end of "
            "a word. Are the ends inclusive? "
            "Say so with --span_end inclusive, or exclusive if they are as they should be."
        )
    inside = [
        (index, entity)
        for index, row in enumerate(rows)
        for entity in row["entities"]
        if not at_words(row, entity)
    ]
    if len(ends) >= FEW and len(inside) > 0.5 * len(ends):
        index, entity = inside[0]
        text = rows[index]["text"]
        wide = any(ord(letter) > 0xFFFF for row in rows for letter in row["text"])
        why = " Texts hold emoji: do places count in UTF-16, as in JavaScript?" if wide else ""
        raise AdaptkitError(
            f"{table.where(index)}: {len(inside)} of {len(ends)} entities begin or end inside a "
            f"word, as {quoted(text[entity['start'] : entity['end']])}: are all places shifted?"
            f"{why} If they are as they should be, say --span_end exclusive."
        )


def at_words(row: dict[str, Any], entity: dict[str, Any]) -> bool:
    """True if an entity begins and ends where words do."""
    starts, ends = ({unit[side] for unit in row["units"]} for side in (0, 1))
    return entity["start"] in starts and entity["end"] in ends
