"""One file a task: how rows become tensors, which head, which metric, how outputs become answers."""

from __future__ import annotations

import dataclasses
import importlib
from typing import TYPE_CHECKING, Any

from adaptkit.errors import AdaptkitError, unknown

if TYPE_CHECKING:
    from adaptkit.cards import TaskCard
    from adaptkit.tasks.base import Task

TASKS = {
    "classify": "Classify",
    "score": "Score",
    "tag": "Tag",
    "answer": "Answer",
    "relate": "Relate",
    "translate": "Translate",
    "summarize": "Summarize",
    "chat": "Chat",
    "embed": "Embed",
    "pretrain": "Pretrain",
}


def find(name: str) -> type[Task]:
    """The task called `name`; its file has the same name.

    Raises:
        AdaptkitError: there is none; names the nearest.
    """
    if name not in TASKS:
        raise unknown("task", name, TASKS)
    return getattr(importlib.import_module(f"adaptkit.tasks.{name}"), TASKS[name])


def from_card(card: TaskCard) -> Task:
    """The task of an adapter, with its columns, labels and settings.

    Raises:
        AdaptkitError: the card names no task, or settings that this version does not know.
    """
    if card.task is None:
        raise AdaptkitError("the adapter has no task in its card (task.json).")
    kind = find(card.task)
    for field in dataclasses.fields(kind):
        if field.name in card.settings and not _fits(card.settings[field.name], field.default):
            raise AdaptkitError(f"task.json: {field.name} of {card.task} cannot be {card.settings[field.name]!r}.")
    try:
        return kind(columns=card.columns, labels=card.labels, **card.settings)
    except TypeError as problem:
        raise AdaptkitError(
            f"task.json has settings of {card.task} that this version of adaptkit does not know: {problem}"
        ) from None


def _fits(value: Any, default: Any) -> bool:
    """Whether a setting is of its default's kind; numbers of things are not negative."""
    if isinstance(default, bool):
        return isinstance(value, bool)
    if isinstance(default, int):
        return type(value) is int and value >= 0
    if isinstance(default, float):
        return type(value) in (int, float)
    return not isinstance(default, str) or isinstance(value, str)
