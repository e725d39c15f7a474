"""Find a task by name."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from adaptkit.errors import unknown

if TYPE_CHECKING:
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


def find_task(name: str) -> type[Task]:
    """The task called `name`; its file has the same name.

    Raises:
        AdaptkitError: there is no such task; names the closest one.
    """
    if name not in TASKS:
        raise unknown("task", name, TASKS)
    return getattr(importlib.import_module(f"adaptkit.tasks.{name}"), TASKS[name])
