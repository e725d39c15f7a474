"""Rows to answer, and their order in a batch."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from adaptkit.data.tables import Table
from adaptkit.errors import AdaptkitError, quoted
from adaptkit.host.layout import Layout
from adaptkit.host.slots import LoadedAdapter
from adaptkit.tasks.base import Task
from adaptkit.tasks.classify import Classify


@dataclass(frozen=True)
class Row:
    """One row to answer: a text, or its task's inputs by name. `loaded`: None for the bare base.

    top_k: how many of the likeliest labels to give, of a task with labels.
    """

    index: int
    given: str | dict[str, Any]
    loaded: LoadedAdapter | None
    top_k: int | None = None

    @property
    def kind(self) -> tuple[Any, ...]:
        """Rows of one kind are read together."""
        return self.loaded, self.top_k, isinstance(self.given, dict) and "text_pair" in self.given


@dataclass
class Item:
    """One input of the network for a row: the features of a window, or the ids of a prompt.

    `found`: its output.
    """

    features: dict[str, list[int]]
    loaded: LoadedAdapter | None
    found: Any = None
    seed: int = 0

    @property
    def length(self) -> int:
        return len(self.features["input_ids"])


def layout_of(loaded: LoadedAdapter | None) -> Layout | None:
    return None if loaded is None else loaded.layout


def order(loaded: LoadedAdapter | None) -> tuple[int, int]:
    """Sort key of a row in a batch: by layout, then by slot; rows of the base are last."""
    return (id(loaded.layout), loaded.slot) if loaded is not None else (1 << 64, 0)


def stretches(
    loaded_adapters: list[LoadedAdapter | None],
) -> Iterator[tuple[slice, LoadedAdapter | None]]:
    start = 0
    for loaded, group in itertools.groupby(loaded_adapters):
        count = len(list(group))
        yield slice(start, start + count), loaded
        start += count


def by_row(columns: dict[str, list]) -> Iterable[dict[str, list[int]]]:
    """The model inputs in features, row by row."""
    names = [name for name in columns if name != "length" and not name.startswith("_")]
    return [{name: columns[name][i] for name in names} for i in range(len(columns["input_ids"]))]


def take(outputs: Any, rows: slice) -> Any:
    return type(outputs)(
        **{name: value[rows] for name, value in outputs.items() if isinstance(value, Tensor)}
    )


def in_order(rows: Tensor, numbers: list[int]) -> Tensor:
    """Undo the batch permutation: row `i` belongs at index `numbers[i]`."""
    back = torch.empty(len(numbers), dtype=torch.long)
    back[numbers] = torch.arange(len(numbers))
    return rows[back.to(rows.device)]


def plain_text(given: Any) -> str:
    if (
        not isinstance(given, str)
        or not given.strip()
        or any("\ud800" <= sign <= "\udfff" for sign in given)
    ):
        raise AdaptkitError(
            f"the bare base reads a text that is not empty; it got {quoted(given)}."
        )
    return given


def task_of(row: Row) -> Task | None:
    """The task of a row's adapter as the row asks it: with `top_k`, and for a pair.

    An adapter whose card names its columns reads pairs if it was trained on pairs. One that does
    not say (what PEFT saved) reads what it is given.

    Raises:
        AdaptkitError: `top_k` of a task without labels.
    """
    loaded, top_k, pair = row.kind
    task = loaded.adapter.task if loaded is not None else None
    if pair and task is not None and not task.columns and "text_pair" in task.parts:
        task = dataclasses.replace(task, columns={"text_pair": "text_pair"})
    if top_k is None:
        return task
    if not isinstance(task, Classify):
        name = quoted(loaded.name) if loaded is not None else "the base"
        raise AdaptkitError(f"top_k is for adapters with labels; {name} has none.")
    return dataclasses.replace(task, top_k=top_k)


def table_of(task: Any, given: list[Any], name: str) -> Table:
    """Rows as a table with the task's columns.

    Raises:
        AdaptkitError: a row lacks a part that the task needs, or has one that it does not know.
    """
    asked = task.input_fields()
    rows = []
    for one in given:
        row = one if isinstance(one, dict) else {asked[0]: one}
        if missing := [
            part for part in asked if part not in row and not ("tokens" in row or "messages" in row)
        ]:
            asks = f"adapter {quoted(name)} ({task.name}) asks for {' and '.join(asked)}"
            raise AdaptkitError(f"{asks}; {', '.join(missing)} is missing in {quoted(one)}.")
        if "text_pair" in row and "text_pair" not in asked:
            raise AdaptkitError(
                f"adapter {quoted(name)} ({task.name}) reads single texts; it got a text_pair."
            )
        if strange := [part for part in row if part not in task.parts]:
            raise AdaptkitError(
                f"adapter {quoted(name)} ({task.name}) knows {', '.join(task.parts)}; not "
                f"{', '.join(map(str, strange))}."
            )
        rows.append({task.column(part) or part: value for part, value in row.items()})
    return Table(rows, f"adapter {quoted(name)}")
