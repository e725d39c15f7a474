"""One file a task: how rows become tensors, which head, which metric, how outputs become answers."""

from __future__ import annotations

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
    settings: dict[str, Any] = dict(card.settings)
    try:
        return find(card.task)(columns=card.columns, labels=card.labels, **settings)
    except TypeError as problem:
        raise AdaptkitError(
            f"task.json has settings of {card.task} that this version of adaptkit does not know: {problem}"
        ) from None
