"""Rows as inputs of the network: each task reads its own, and one call tokenizes those of many."""

from __future__ import annotations

import threading
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from adaptkit.data.tables import Table
from adaptkit.host.backbone import Backbone
from adaptkit.host.rows import Item, Row, by_row, plain_text, table_of, task_of
from adaptkit.host.slots import LoadedAdapter
from adaptkit.tasks.base import Task
from adaptkit.tasks.sequence import SequenceTask

LONGEST = 512  # tokens of a text for the bare base


@dataclass
class Asked:
    """The rows of one kind and their inputs.

    loaded: their adapter. task: as they ask it; None if they want hidden states. table: what the
    task has read. columns: the features. items: the network's inputs, one a row or more.
    """

    loaded: LoadedAdapter | None
    task: Task | None
    rows: list[Row]
    table: Table | None = None
    columns: dict[str, list] = field(default_factory=dict)
    items: list[Item] = field(default_factory=list)

    def give(self, columns: dict[str, list]) -> None:
        self.columns = columns
        self.items = [Item(features, self.loaded) for features in by_row(columns)]


class Reader:
    """Reads rows for one backbone; only one thread at a time tokenizes."""

    def __init__(self, backbone: Backbone):
        self.backbone = backbone
        self.tokenizing = threading.Lock()  # tokenizers store their settings in themselves

    def read(self, groups: list[list[Row]]) -> list[Asked]:
        """Rows of one kind each, with their inputs.

        Raises:
            AdaptkitError: a row lacks an input of its adapter's task.
        """
        alike: dict[Any, list[Asked]] = defaultdict(list)
        asked = [self._asked(rows) for rows in groups]
        for one in asked:
            alike[_features_key(one)].append(one)
        with self.tokenizing:
            for some in alike.values():
                self._give_features(some)
        return asked

    def _asked(self, rows: list[Row]) -> Asked:
        loaded, task = rows[0].loaded, task_of(rows[0])
        if loaded is None or task is None:
            return Asked(loaded, None, rows)
        table = table_of(task, [row.given for row in rows], loaded.name)
        return Asked(loaded, task, rows, task.read(table, labelled=False))

    def _give_features(self, some: list[Asked]) -> None:
        """Tokenize rows whose features are made in the same way."""
        first = some[0]
        if first.task is None or first.table is None:
            texts = [plain_text(row.given) for row in first.rows]
            longest = self._longest(first.loaded)
            tokenizer = self.backbone.tokenizer
            first.give(dict(tokenizer(texts, truncation=True, max_length=longest)))
            return
        table = first.table
        if len(some) > 1:
            table = Table([row for one in some if one.table for row in one.table.rows], "rows")
        longest = self._longest(first.loaded)
        columns = first.task.features(table, self.backbone.tokenizer, longest, labelled=False)
        start = 0
        for one in some:
            stop = start + len(one.rows) if len(some) > 1 else None
            one.give({name: values[start:stop] for name, values in columns.items()})
            start += len(one.rows)

    def _longest(self, loaded: LoadedAdapter | None) -> int:
        if loaded is not None:
            return loaded.adapter.max_length
        return min(self.backbone.longest, self.backbone.tokenizer.model_max_length, LONGEST)


def _features_key(asked: Asked) -> Any:
    """Equal for rows whose features depend on their texts alone, and not on their task."""
    task, loaded = asked.task, asked.loaded
    if loaded is None or asked.table is None or not isinstance(task, SequenceTask):
        return id(asked)
    if type(task).features is not SequenceTask.features:
        return id(asked)
    return loaded.adapter.max_length, *asked.table.columns
