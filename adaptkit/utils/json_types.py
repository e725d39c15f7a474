"""Check that values of a JSON file have the types that annotations promise."""

from __future__ import annotations

import types
import typing
from typing import Any

from adaptkit.errors import AdaptkitError

_WORDS = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}


def check_types(content: dict[str, Any], wanted: dict[str, Any], where: object) -> None:
    """Refuse a value of another type than `wanted` (name -> annotation); `where`: for messages.

    A name that is not in `wanted` may be anything.

    Raises:
        AdaptkitError: names the value, and what it should be.
    """
    for name, hint in wanted.items():
        if name in content and not fits(content[name], hint):
            raise AdaptkitError(
                f"{where}: {name} should be {in_words(hint)}; it is {shortened(content[name])}."
            )


def fits(value: Any, wanted: Any) -> bool:
    """True if a JSON value has this type; true is no number, and whole ones have 63 bits.

    >>> fits([1, 2], list[int]), fits([1, 2.5], list[int]), fits(None, int | None)
    (True, False, True)
    """
    if wanted is Any:
        return True
    inside = typing.get_args(wanted)
    origin = typing.get_origin(wanted)
    if origin in (types.UnionType, typing.Union):
        return any(fits(value, one) for one in inside)
    if origin is list:
        return isinstance(value, list) and all(fits(one, inside[0]) for one in value)
    if origin is dict:
        return isinstance(value, dict) and all(fits(one, inside[1]) for one in value.values())
    if wanted is type(None):
        return value is None
    if type(value) is int and abs(value) >= 2**63:
        return False
    return type(value) is wanted or (wanted is float and type(value) is int)


def in_words(wanted: Any) -> str:
    """A type as a reader of JSON would call it.

    >>> in_words(list[str] | None)
    'a list of text, or null'
    """
    inside = typing.get_args(wanted)
    origin = typing.get_origin(wanted)
    if origin in (types.UnionType, typing.Union):
        return ", or ".join(map(in_words, inside))
    if origin is list:
        return f"a list of {in_words(inside[0])}"
    if origin is dict:
        return (
            "an object" if inside[1] is Any else f"an object whose values are {in_words(inside[1])}"
        )
    return "null" if wanted is type(None) else _WORDS.get(wanted, str(wanted))


def shortened(value: Any, most: int = 80) -> str:
    """A value for a message, on one line."""
    text = repr(value[:most] if isinstance(value, (str, list)) else value)
    return text if len(text) <= most else f"{text[:most]}..."
