"""A task that overrides parts of another task, such as a student's."""

from __future__ import annotations

import copy
import dataclasses
from typing import TYPE_CHECKING, Any, cast

from adaptkit.data.tables import Table
from adaptkit.tasks.base import Task

if TYPE_CHECKING:
    from datasets import Dataset


class WrappedTask:
    """Delegates to `inner` everything that a subclass does not define.

    It is not a subclass of `Task`, whose class attributes would hide those of the inner task.
    """

    def __init__(self, inner: Task):
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        if name == "inner":  # while it is copied
            raise AttributeError(name)
        return getattr(self.inner, name)

    def encode(
        self,
        table: Table,
        tokenizer: Any,
        max_length: int,
        labelled: bool = True,
        train: bool = False,
    ) -> Dataset:
        """The features as a data set."""
        from datasets import Dataset

        return Dataset.from_dict(self.features(table, tokenizer, max_length, labelled, train))

    def features(
        self,
        table: Table,
        tokenizer: Any,
        max_length: int,
        labelled: bool = True,
        train: bool = False,
    ) -> dict[str, list]:
        """As `Task.features`."""
        return self.inner.features(table, tokenizer, max_length, labelled, train)


def unwrapped(task: Any) -> Task:
    """The task itself, whatever is wrapped around it."""
    return unwrapped(task.inner) if isinstance(task, WrappedTask) else task


def with_settings(task: Any, **settings: Any) -> Task:
    """The same task, in the same wrappers, with other settings."""
    if not isinstance(task, WrappedTask):
        return dataclasses.replace(task, **settings)
    changed = copy.copy(task)
    changed.inner = with_settings(task.inner, **settings)
    return cast(Task, changed)
