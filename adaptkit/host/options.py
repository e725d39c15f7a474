"""The options of `Host`, checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from adaptkit.compute.precision import dtype_for
from adaptkit.errors import AdaptkitError
from adaptkit.models import load

SLOT_CAPACITY = "lora[r=16]"  # by default

OPTIONS = (
    *("slots", "slot_capacity", "tokenizer", "max_rows", "max_wait", "max_queue", "capture"),
    "compute",
)
_OF_BASE = tuple(name for name in load.OPTIONS if name not in ("task", "labels"))


def check_names(base_options: dict[str, Any], config: Any) -> None:
    """Refuse a misspelled option of `Host` among those for `load_base`, which come last.

    config: the model's configuration, whose settings are options, too.
    """
    for name in base_options:
        if name not in _OF_BASE and not hasattr(config, name):
            raise load.unknown_option("Host", name, (*OPTIONS, *_OF_BASE), config)


def with_precision(options: dict[str, Any]) -> dict[str, Any]:
    """The options of a base with the dtype that `compute` asks for in its place.

    Raises:
        AdaptkitError: it is unknown, or another option says the same.
    """
    kept = {name: value for name, value in options.items() if name != "compute"}
    if (compute := options.get("compute")) is None:
        return kept
    if also := [name for name in ("dtype", "quantize") if kept.get(name) is not None]:
        raise AdaptkitError(f"compute and {also[0]} both say how the base computes: give one.")
    return kept | {"dtype": dtype_for(compute)}


def largest_methods(slot_capacity: str | Sequence[str]) -> list[str]:
    """The methods that a slot must hold, one or several."""
    methods = [slot_capacity] if isinstance(slot_capacity, str) else list(slot_capacity)
    if not methods:
        raise AdaptkitError(
            "slot_capacity names the largest method that a slot holds, as in 'lora[r=16]'; "
            "it names none."
        )
    return methods


def need_count(name: str, value: Any) -> None:
    if type(value) is not int or value < 1:
        raise AdaptkitError(f"{name} is a whole number, 1 or more; it got {value!r}.")
