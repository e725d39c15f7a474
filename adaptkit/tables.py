"""Rows, where each came from, and how they are divided into splits."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from adaptkit.errors import AdaptkitError, nearest

LONGEST = 600  # characters of a problem that a message shows


@dataclass
class Table:
    """Rows, and for each row where it stands, for error messages: `reviews.csv:17`. `notes`: what reading decided."""

    rows: list[dict[str, Any]]
    source: str
    lines: Sequence[int | str] | None = None
    notes: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def columns(self) -> list[str]:
        return list(dict.fromkeys(key for row in self.rows[:100] for key in row))

    def where(self, index: int) -> str:
        """`file:line` of a row, or `source row n` where there are no lines."""
        return f"{self.source}:{self.lines[index]}" if self.lines else f"{self.source} row {index}"

    def bad(self, index: int, problem: str) -> AdaptkitError:
        """The error to raise for a row that cannot be used; of a long problem the middle is left out."""
        if len(problem) > LONGEST:
            problem = f"{problem[: LONGEST // 2]} ... {problem[-LONGEST // 2 :]}"
        return AdaptkitError(f"{self.where(index)}: {problem}")

    def each(self, make: Callable[[int, dict[str, Any]], Any]) -> list[Any]:
        """What `make` makes of every row, from its index and the row itself.

        Raises:
            AdaptkitError: that of the first row that cannot be used, with the places of the others.
        """
        found, bad = [], []
        for index, row in enumerate(self.rows):
            try:
                found.append(make(index, row))
            except AdaptkitError as error:
                bad.append((index, error))
        if len(bad) > 1:
            others = ", ".join(self.where(index) for index, _ in bad[1:6]) + (", ..." if len(bad) > 6 else "")
            raise AdaptkitError(f"{bad[0][1]} Nor can {len(bad) - 1} more be used: {others}.")
        if bad:
            raise bad[0][1]
        return found

    def take(self, indexes: Iterable[int]) -> Table:
        indexes = list(indexes)
        lines = [self.lines[i] for i in indexes] if self.lines else None
        return Table([self.rows[i] for i in indexes], self.source, lines)

    def with_rows(self, rows: list[dict[str, Any]]) -> Table:
        """The same places with other rows, one for each."""
        return Table(rows, self.source, self.lines)

    def and_rows(self, other: Table | None) -> Table:
        """These rows and those of another table."""
        if other is None:
            return self
        lines = [*self.lines, *other.lines] if self.lines and other.lines and self.source == other.source else None
        return Table([*self.rows, *other.rows], self.source, lines)

    def need(self, column: str, flag: str) -> None:
        """Raise an AdaptkitError unless the table has `column`; `flag` is what the user can set."""
        if column not in self.columns:
            close = nearest(column, self.columns)
            guess = f" Did you mean --{flag} {close}?" if close else f" Name it with --{flag}."
            raise AdaptkitError(f"{self.source} has no column {column!r}; it has {', '.join(self.columns)}.{guess}")


@dataclass
class Splits:
    """Training rows and what goes with them. `notes`: what was decided and should be said aloud."""

    train: Table
    validation: Table | None = None
    test: Table | None = None
    notes: list[str] = field(default_factory=list)

    def items(self) -> list[tuple[str, Table]]:
        """(name, table) of the splits that there are."""
        found = (("train", self.train), ("validation", self.validation), ("test", self.test))
        return [(name, table) for name, table in found if table is not None]

    def at_most(self, most: dict[str, int | None], seed: int) -> Splits:
        """So many rows of each split, drawn by `seed` and in their old order; all of them where it has fewer, or for None."""
        tables, notes = dict(self.items()), list(self.notes)
        for name, table in self.items():
            count = most.get(name)
            if count is not None and count < len(table):
                tables[name] = table.take(sorted(random.Random(seed).sample(range(len(table)), count)))
                notes.append(f"{count:,} of {len(table):,} {name} rows are used (seed {seed})")
        return Splits(tables["train"], tables.get("validation"), tables.get("test"), notes)


def split_validation(table: Table, labels: Sequence[str], seed: int, share: float = 0.1) -> tuple[Table, Table]:
    """Cut a validation split: the same share of each label (at least one row of a label that has two), shuffled by `seed`.

    Returns:
        The remaining training rows and the validation rows, each in their old order.
    """
    by_label = _indexes(labels)
    generator, chosen = random.Random(seed), set()
    for label in sorted(by_label):
        indexes = by_label[label]
        count = max(1, round(share * len(indexes))) if len(indexes) > 1 else 0
        chosen.update(generator.sample(indexes, count))
    return divide(table, chosen)


def split_groups(table: Table, groups: Sequence[str], seed: int, share: float = 0.1) -> tuple[Table, Table]:
    """Cut off about `share` of the rows, whole groups at a time, so that no group stands on both sides.

    Returns:
        The remaining rows and those cut off, each in their old order.
    """
    by_group = _indexes(groups)
    names = sorted(by_group)
    random.Random(seed).shuffle(names)
    chosen: set[int] = set()
    for name in names[: len(names) - 1]:
        if len(chosen) >= share * len(table):
            break
        if len(chosen) + len(by_group[name]) <= max(1, 2 * share * len(table)):
            chosen.update(by_group[name])
    if not chosen and len(names) > 1:  # all are large: the smallest
        chosen.update(by_group[min(names, key=lambda name: len(by_group[name]))])
    return divide(table, chosen)


def folds(table: Table, groups: Sequence[str], count: int, seed: int) -> list[tuple[Table, Table]]:
    """`count` pairs of (the rest, one fold), whole groups at a time; each row is in one fold.

    Raises:
        AdaptkitError: fewer groups than folds.
    """
    by_group = _indexes(groups)
    if len(by_group) < count:
        raise AdaptkitError(f"{table.source}: {count} folds need {count} different rows or more; there are {len(by_group)}.")
    names = sorted(by_group)
    random.Random(seed).shuffle(names)
    parts: list[set[int]] = [set() for _ in range(count)]
    for name in names:  # to the smallest fold, so that they stay even
        min(parts, key=len).update(by_group[name])
    return [divide(table, part) for part in parts]


def _indexes(names: Sequence[str]) -> dict[str, list[int]]:
    found = defaultdict(list)
    for index, name in enumerate(names):
        found[name].append(index)
    return found


def divide(table: Table, chosen: set[int]) -> tuple[Table, Table]:
    """The rows that are not chosen, and those that are."""
    return table.take(i for i in range(len(table)) if i not in chosen), table.take(sorted(chosen))
