"""The registry of tasks: those of this folder by the names of their files, others by a decorator.

A task from outside registers with `register_task`, or by an entry point in the group
`adaptkit.tasks`; its recipe is `adaptkit train NAME`.
"""

from __future__ import annotations

import functools
import importlib
import re
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, TypeVar

from adaptkit.errors import AdaptkitError, unknown

if TYPE_CHECKING:
    from adaptkit.tasks.base import Task

# Names alone, so that no task is imported before it is asked for. A name is that of its file here;
# the class registers itself.
TASKS = (
    *("classify", "score", "tag", "answer", "relate"),
    *("translate", "summarize", "chat", "embed", "pretrain"),
)
_REGISTERED: dict[str, type[Task]] = {}
T = TypeVar("T", bound="type[Task]")


def register_task(task: T) -> T:
    """Class decorator: make a task known under its `name`.

    Raises:
        AdaptkitError: the class has no usable name, or the name is another task's.
    """
    name = getattr(task, "name", None)
    if not isinstance(name, str) or not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise AdaptkitError(
            f"{task.__name__}.name = {name!r}: a task's name is lower case, as in 'my_task'."
        )
    if name in TASKS and task.__module__ != f"adaptkit.tasks.{name}":
        raise AdaptkitError(f"{task.__name__}.name = {name!r} is the name of a task of adaptkit's.")
    _REGISTERED[name] = task
    return task


@functools.cache
def _load_plugins() -> None:
    for entry in entry_points(group="adaptkit.tasks"):
        register_task(entry.load())


def task_names() -> tuple[str, ...]:
    """The names of all tasks, those of plug-ins included."""
    _load_plugins()
    return (*TASKS, *sorted(_REGISTERED.keys() - set(TASKS)))


def find_task(name: str) -> type[Task]:
    """The task called `name`.

    Raises:
        AdaptkitError: there is no such task; names the closest one.
    """
    if name in TASKS and name not in _REGISTERED:
        importlib.import_module(f"adaptkit.tasks.{name}")
    if name not in _REGISTERED and name not in task_names():
        raise unknown("task", name, task_names())
    return _REGISTERED[name]
