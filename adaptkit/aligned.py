"""Tables for a terminal. Standard library only."""

from __future__ import annotations

from collections.abc import Sequence


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells as lines, each column as wide as its widest cell; a blank for what a terminal would not print as it is.

    >>> print(aligned([("name", "kB"), ("stars", "302")]))
    name   kB
    stars  302
    """
    rows = [["".join(one if one.isprintable() else " " for one in cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
