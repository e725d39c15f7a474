"""Divide rows into training, validation and test splits, and into folds."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from adaptkit.data.tables import Table
from adaptkit.errors import AdaptkitError


@dataclass
class Splits:
    """Training rows with optional validation and test rows. `notes`: decisions to print."""

    train: Table
    validation: Table | None = None
    test: Table | None = None
    notes: list[str] = field(default_factory=list)

    def items(self) -> list[tuple[str, Table]]:
        """(name, table) of the existing splits."""
        found = (("train", self.train), ("validation", self.validation), ("test", self.test))
        return [(name, table) for name, table in found if table is not None]

    def at_most(self, most: dict[str, int | None], seed: int) -> Splits:
        """At most this many rows per split, sampled with `seed`, in their old order; None: all."""
        tables, notes = dict(self.items()), list(self.notes)
        for name, table in self.items():
            count = most.get(name)
            if count is not None and count < len(table):
                tables[name] = table.take(
                    sorted(random.Random(seed).sample(range(len(table)), count))
                )
                notes.append(f"{count:,} of {len(table):,} {name} rows are used (seed {seed})")
        return Splits(tables["train"], tables.get("validation"), tables.get("test"), notes)


def split_validation(
    table: Table, labels: Sequence[str], seed: int, share: float = 0.1
) -> tuple[Table, Table]:
    """Split off validation rows: the same share of each label, shuffled with `seed`.

    At least one row of each label that has two.

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


def split_groups(
    table: Table, groups: Sequence[str], seed: int, share: float = 0.1
) -> tuple[Table, Table]:
    """Split off about `share` of the rows by whole groups, so that no group is on both sides.

    Returns:
        The remaining rows and those split off, each in their old order.
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
    if not chosen and len(names) > 1:  # all groups are large: take the smallest
        chosen.update(by_group[min(names, key=lambda name: len(by_group[name]))])
    return divide(table, chosen)


def folds(table: Table, groups: Sequence[str], count: int, seed: int) -> list[tuple[Table, Table]]:
    """`count` pairs of (the rest, one fold) by whole groups; each row is in one fold.

    Raises:
        AdaptkitError: there are fewer groups than folds.
    """
    by_group = _indexes(groups)
    if len(by_group) < count:
        raise AdaptkitError(
            f"{table.source}: {count} folds need {count} different rows or more; there are "
            f"{len(by_group)}."
        )
    names = sorted(by_group)
    random.Random(seed).shuffle(names)
    parts: list[set[int]] = [set() for _ in range(count)]
    for name in names:  # to the smallest fold, to keep folds even
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
