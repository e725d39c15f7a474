"""Dataclass fields as command-line flags, so that settings are written once.

Used for tasks' settings and recipes' arguments. Only the standard library is imported here, so
`--help` is fast.
"""

from __future__ import annotations

import dataclasses
import typing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from adaptkit.tasks.base import Task

SAME: Any = object()  # the flag's default is the field's


@dataclass(frozen=True)
class Flag:
    """One flag: its default, help text and value type, and whether it takes several values.

    hidden: help leaves it out; whoever gives it is told why it is of no use.
    """

    default: Any
    help: str
    kind: type = str
    several: bool = False
    hidden: bool = False


def flag(
    default: Any = None, help: str = "", *, flag_default: Any = SAME, stored: bool = True
) -> Any:
    """A dataclass field that is also a flag.

    Args:
        flag_default: the flag's default, if it differs from the field's.
        stored: keep the setting in the adapter's card; false for settings that only affect how rows
            are read.
    """
    metadata = {"help": help, "flag_default": flag_default, "stored": stored}
    return field(default=default, metadata=metadata)


def flags_of(kind: type) -> dict[str, Flag]:
    """The flags of a dataclass: its fields with a help text."""
    hints = typing.get_type_hints(kind)
    return {
        item.name: _flag(item, hints[item.name])
        for item in dataclasses.fields(kind)
        if item.metadata.get("help")
    }


def task_flags(task: type[Task]) -> dict[str, Flag]:
    """The flags of a task: a column per part of its rows, and its settings."""
    columns = {f"{part}_column": Flag(None, task.column_help(part)) for part in task.parts}
    settings = {name: one for name, one in flags_of(task).items() if name not in task.not_flags}
    return columns | settings


def _flag(item: dataclasses.Field[Any], hint: Any) -> Flag:
    default = item.metadata["flag_default"]
    kind, several = _value_type(hint)
    return Flag(item.default if default is SAME else default, item.metadata["help"], kind, several)


def _value_type(hint: Any) -> tuple[type, bool]:
    """The type of one value, and whether it may be a list: `list[str] | None` -> `(str, True)`."""
    options = [option for option in typing.get_args(hint) if option is not type(None)]
    is_list = typing.get_origin(hint) is list
    if is_list or not options:
        return (typing.get_args(hint)[0], True) if is_list else (hint, False)
    return _value_type(options[0])


def stored_settings(task: Any, shared: type) -> dict[str, Any]:
    """A task's settings that belong in its card, without the fields of class `shared`."""
    names = {item.name for item in dataclasses.fields(shared)}
    own = [item for item in dataclasses.fields(task) if item.name not in names]
    return {
        item.name: getattr(task, item.name) for item in own if item.metadata.get("stored", True)
    }
