"""Words and the tokenizer's pieces of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import regex

from adaptkit.data.alignment import Offsets, held_part
from adaptkit.data.tables import Table
from adaptkit.data.texts import MARKS

_MARKS = regex.compile(f"[{MARKS}]+")


def unit_starts(units: Sequence[tuple[int, int]], held: bytearray) -> dict[int, int]:
    """The unit that starts at a character; units start at their first character in a token."""
    parts = (held_part(held, start, end) for start, end in units)
    return {start: unit for unit, (start, end) in enumerate(parts) if start < end}


def units_begun(starts: dict[int, int], offsets: Offsets) -> tuple[list[int], list[int]]:
    """For each piece of a window, the first and the last unit that begin in it, or -1.

    -1 are special pieces, and those inside a unit.
    """
    first, last = [], []
    carried: set[int] = set()  # the bytes of one character share it: the first carries the tag
    for start, end in offsets:
        begun = [starts[place] for place in range(start, end) if place in starts]
        begun = [unit for unit in begun if unit not in carried] or [-1]
        first.append(begun[0])
        last.append(begun[-1])
        carried.update(begun)
    return first, last


def units_by_row(encoded: Any, column: str, rows: int) -> list[set[int]]:
    """The units of each row in `_first` or `_last` of its windows."""
    found: list[set[int]] = [set() for _ in range(rows)]
    for owner, units in zip(encoded["_row"], encoded[column], strict=True):
        found[owner].update(units)
    return [units - {-1} for units in found]


def by_unit(outputs: np.ndarray, encoded: Any, table: Table) -> list[list[Any]]:
    """For each row and unit, the output at its first piece, or None if no piece begins there.

    Of several windows, the one with the most context around the piece counts. outputs: `(windows,
    pieces, ...)`.
    """
    found: list[list[Any]] = [[None] * len(row["units"]) for row in table.rows]
    room = [[-1] * len(row["units"]) for row in table.rows]
    for owner, firsts, given in zip(encoded["_row"], encoded["_first"], outputs, strict=True):
        for place, unit in enumerate(firsts):
            around = min(place, len(firsts) - 1 - place)
            if unit >= 0 and around > room[owner][unit]:
                room[owner][unit], found[owner][unit] = around, given[place]
    return found


def shared_units(encoded: Any, rows: int) -> list[set[int]]:
    """The units of each row that begin inside a piece of the unit before."""
    found: list[set[int]] = [set() for _ in range(rows)]
    windows = zip(encoded["_row"], encoded["_first"], encoded["_last"], strict=True)
    for owner, firsts, lasts in windows:
        for first, last in zip(firsts, lasts, strict=True):
            found[owner].update(range(first + 1, last + 1))
    return found


def fill_tags(tags: list[str], given: list[Any], shared: set[int], row: dict[str, Any]) -> None:
    """Fill in the tags of the units in which no piece begins, of which nothing is `given`.

    One that shares a piece with the unit before continues it, and so do marks of its last
    character. One that the tokenizer drops is inside an entity if it lies between two of its units.
    """
    text, units = row["text"], row["units"]
    after = "O"
    for unit in reversed(range(len(units))):  # the tag behind, for units that are dropped
        if given[unit] is not None:
            after = tags[unit]
        elif unit not in shared:
            tags[unit] = after if after.startswith("I-") else "O"
    for unit in range(len(units)):
        if given[unit] is not None:
            continue
        before, (start, end) = tags[unit - 1] if unit else "O", units[unit]
        touches = unit and units[unit - 1][1] == start
        if unit in shared or (touches and _MARKS.fullmatch(text, start, end)):
            tags[unit] = before.replace("B-", "I-", 1)
        elif before[1:] != tags[unit][1:]:
            tags[unit] = "O"
