"""Words and the tokenizer's pieces of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from adaptkit.data.tables import Table


def first_pieces(starts: dict[int, int], offsets, special) -> list[int]:
    """For each piece of a window, the first unit that begins in it, or -1.

    -1 are special pieces, and those inside a unit. starts: the start of each unit in the text.
    """
    found: list[int] = []
    carried = set()
    for (start, end), is_special in zip(offsets, special, strict=True):
        unit = (
            -1
            if is_special
            else next((starts[place] for place in range(start, end) if place in starts), -1)
        )
        found.append(
            -1 if unit in carried else unit
        )  # the bytes of one character share a position: the first carries the tag
        carried.add(unit)
    return found


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


def continue_units(tags: list[str], given: list[Any], units: list[tuple[int, int]]) -> None:
    """Continue the previous unit into units in which no piece begins, if they touch.

    One piece holds both.
    """
    for unit in range(1, len(units)):
        if given[unit] is None and units[unit - 1][1] == units[unit][0]:
            tags[unit] = tags[unit - 1].replace("B-", "I-", 1)
