"""What a task is. A task holds no state: everything it needs is passed in."""

from __future__ import annotations

from typing import ClassVar


class Task:
    """Base class of all tasks."""

    name: ClassVar[str]
    auto_class: ClassVar[str]  # the transformers Auto class that builds the model with this task's head
