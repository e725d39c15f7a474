"""Tables of rows that know where each row came from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from adaptkit.errors import AdaptkitError, listed, nearest

LONGEST = 600  # characters of a problem shown in a message


@dataclass
class Table:
    """Rows, and the source of each row for error messages: `reviews.csv:17`.

    `notes`: decisions made while reading. `read_as`: the format of the file. `blank`: the numbers
    of empty lines between rows, which are no rows.
    """

    rows: list[dict[str, Any]]
    source: str
    lines: Sequence[int | str] | None = None
    notes: list[str] = field(default_factory=list)
    read_as: str | None = None
    blank: Sequence[int] = ()

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def columns(self) -> list[str]:
        return list(dict.fromkeys(key for row in self.rows[:100] for key in row))

    def where(self, index: int) -> str:
        """`file:line` of a row, or `source row n` if the source has no lines."""
        return f"{self.source}:{self.lines[index]}" if self.lines else f"{self.source} row {index}"

    def bad(self, index: int, problem: str) -> AdaptkitError:
        """The error for an unusable row; the middle of a long problem is left out."""
        if len(problem) > LONGEST:
            problem = f"{problem[: LONGEST // 2]} ... {problem[-LONGEST // 2 :]}"
        return AdaptkitError(f"{self.where(index)}: {problem}")

    def each(self, make: Callable[[int, dict[str, Any]], Any]) -> list[Any]:
        """Apply `make` to every index and row.

        Raises:
            AdaptkitError: that of the first unusable row, with the locations of the others.
        """
        found, bad = [], []
        for index, row in enumerate(self.rows):
            try:
                found.append(make(index, row))
            except AdaptkitError as error:
                bad.append((index, error))
        if len(bad) > 1:
            others = ", ".join(self.where(index) for index, _ in bad[1:6]) + (
                ", ..." if len(bad) > 6 else ""
            )
            raise AdaptkitError(f"{bad[0][1]} Nor can {len(bad) - 1} more be used: {others}.")
        if bad:
            raise bad[0][1]
        return found

    def take(self, indexes: Iterable[int]) -> Table:
        indexes = list(indexes)
        lines = [self.lines[i] for i in indexes] if self.lines else None
        return Table([self.rows[i] for i in indexes], self.source, lines, read_as=self.read_as)

    def with_rows(self, rows: list[dict[str, Any]]) -> Table:
        """The same sources with other rows."""
        return Table(rows, self.source, self.lines, read_as=self.read_as)

    def and_rows(self, other: Table | None) -> Table:
        """These rows followed by those of another table."""
        if other is None:
            return self
        lines = (
            [*self.lines, *other.lines]
            if self.lines and other.lines and self.source == other.source
            else None
        )
        return Table([*self.rows, *other.rows], self.source, lines)

    def need(self, column: str, flag: str) -> None:
        """Raise an AdaptkitError unless the table has `column`; `flag` is the flag that sets it."""
        if column not in self.columns:
            close = nearest(column, self.columns)
            guess = f" Did you mean --{flag} {close}?" if close else f" Name it with --{flag}."
            how = " It is read as lines of text; --format names another." * (
                self.read_as == "lines"
            )
            raise AdaptkitError(
                f"{self.source} has no column {column!r}; it has "
                f"{listed(self.columns)}.{guess}{how}"
            )


def between(numbers: Sequence[int]) -> list[int]:
    """The lines between those of rows that have one each."""
    return [line for one, two in pairwise(numbers) for line in range(one + 1, two)]
