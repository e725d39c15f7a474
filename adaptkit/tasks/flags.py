"""Fields of dataclasses as command-line flags: a task's settings and a recipe's arguments are
written once.

Only the standard library is imported here, so `--help` is quick.
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
    """One flag: its default, its help, the type of a value, and whether it takes several."""

    default: Any
    help: str
    kind: type = str
    several: bool = False


def flag(
    default: Any = None, help: str = "", *, flag_default: Any = SAME, stored: bool = True
) -> Any:
    """A field of a dataclass that is a flag too.

    Args:
        flag_default: of the flag, where it differs from the field's.
        stored: whether an adapter's card keeps it; not, for settings that only say how rows are
            read.
    """
    metadata = {"help": help, "flag_default": flag_default, "stored": stored}
    return field(default=default, metadata=metadata)


def flags_of(kind: type) -> dict[str, Flag]:
    """The flags of a dataclass: its fields that have a help text."""
    hints = typing.get_type_hints(kind)
    return {
        item.name: _flag(item, hints[item.name])
        for item in dataclasses.fields(kind)
        if item.metadata.get("help")
    }


def task_flags(task: type[Task]) -> dict[str, Flag]:
    """The flags of a task: a column for each part of its rows, and its settings."""
    columns = {f"{part}_column": Flag(None, task.column_help(part)) for part in task.parts}
    settings = {name: one for name, one in flags_of(task).items() if name not in task.not_flags}
    return columns | settings


def _flag(item: dataclasses.Field[Any], hint: Any) -> Flag:
    default = item.metadata["flag_default"]
    kind, several = _value_type(hint)
    return Flag(item.default if default is SAME else default, item.metadata["help"], kind, several)


def _value_type(hint: Any) -> tuple[type, bool]:
    """The type of one value, and whether there may be several: `list[str] | None` -> `(str, True)`."""
    options = [option for option in typing.get_args(hint) if option is not type(None)]
    is_list = typing.get_origin(hint) is list
    if is_list or not options:
        return (typing.get_args(hint)[0], True) if is_list else (hint, False)
    return _value_type(options[0])
