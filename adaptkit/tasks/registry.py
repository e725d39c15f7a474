"""The registry of tasks: those of this folder by the names of their files, others by a decorator.

A task from outside registers with `register_task`, or by an entry point in the group
`adaptkit.tasks`; its recipe is `adaptkit train NAME`.
"""

from __future__ import annotations

import functools
import importlib
import re
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, TypeVar

from adaptkit.errors import AdaptkitError, unknown

if TYPE_CHECKING:
    from adaptkit.tasks.base import Task

# Names alone, so that no task is imported before it is asked for. A name is that of its file here;
# the class registers itself.
TASKS = (
    *("classify", "decide", "score", "tag", "answer", "relate"),
    *("translate", "summarize", "chat", "prefer", "embed", "pretrain"),
)
RECIPES = ("distill", "multitask")  # recipes of several tasks, each with a script
_REGISTERED: dict[str, type[Task]] = {}
# What a task says of itself: in words, and whether a value can be it.
_NEEDED: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "auto_class": (
        "the name of the transformers Auto class of its head",
        lambda value: isinstance(value, str) and value.startswith("AutoModel"),
    ),
    "parts": (
        "a dict of what a row has -> its default column",
        lambda value: isinstance(value, dict) and bool(value),
    ),
    "best_metric": (
        "the name of the metric that selects the best epoch",
        lambda value: isinstance(value, str),
    ),
    "reported": (
        "a tuple with the names of the metrics to print",
        lambda value: isinstance(value, tuple) and bool(value),
    ),
}
_METHODS = ("read", "features")
T = TypeVar("T", bound="type[Task]")


def register_task(task: T) -> T:
    """Class decorator: make a task known under its `name`.

    Raises:
        AdaptkitError: the class is no frozen dataclass derived from Task, lacks something, has no
            usable name, or the name is another task's.
    """
    _check(task)
    _REGISTERED[task.name] = task
    return task


def _check(task: type[Task]) -> None:
    """Refuse a class that is no task, or an incomplete one."""
    from adaptkit.tasks.base import Task

    if not (
        isinstance(task, type) and issubclass(task, Task) and "__dataclass_fields__" in vars(task)
    ):
        raise AdaptkitError(
            "register_task takes a @dataclass(frozen=True) derived from adaptkit.Task; it got "
            f"{task!r}."
        )
    _check_name(task)
    for name, (words, fits) in _NEEDED.items():
        value = getattr(task, name, None)
        if not isinstance(value, property) and not fits(value):
            raise AdaptkitError(
                f"the task {task.__name__} needs {name}, {words}; {name} is {value!r}."
            )
    if missing := [name for name in _METHODS if getattr(task, name) is getattr(Task, name)]:
        raise AdaptkitError(f"the task {task.__name__} needs its own {', '.join(missing)}.")


def _check_name(task: type[Task]) -> None:
    name = getattr(task, "name", None)
    if not isinstance(name, str) or not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise AdaptkitError(
            f"{task.__name__}.name = {name!r}: a task's name is lower case, as in 'my_task'."
        )
    if name in TASKS and task.__module__ != f"adaptkit.tasks.{name}":
        raise AdaptkitError(f"{task.__name__}.name = {name!r} is the name of a task of adaptkit's.")
    if name in RECIPES:
        raise AdaptkitError(
            f"{task.__name__}.name = {name!r} is the name of a recipe of adaptkit's."
        )


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
