"""One file a task: how rows become tensors, which head, which metric, how outputs become answers."""

from adaptkit.errors import unknown
from adaptkit.tasks.base import Task


def known_tasks() -> dict[str, Task]:
    """Every task by name."""
    from adaptkit.tasks.classify import Classify

    return {task.name: task for task in (Classify(),)}


def find(name: str) -> Task:
    """The task called `name`.

    Raises:
        AdaptkitError: there is none; names the nearest.
    """
    tasks = known_tasks()
    if name not in tasks:
        raise unknown("task", name, tasks)
    return tasks[name]
