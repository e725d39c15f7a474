"""The one error type: what was given, what was expected, the closest match, and the fix."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import TypeGuard


class AdaptkitError(Exception):
    """Something that the user gave cannot be used.

    The message says what, why, and how to fix it.
    """


SHOWN = 80  # characters of a value in a message


def quoted(value: object, most: int = SHOWN) -> str:
    """A value as a message shows it: on one line, escaped, and shortened in the middle.

    >>> quoted("a" * 99, 11)
    "'aaa...aaa'"
    """
    try:
        text = repr(value[: 2 * most] + value[-2 * most :]) if _long(value, most) else repr(value)
    except (ValueError, RecursionError):  # numbers of thousands of digits, lists in lists in lists
        return f"a {type(value).__name__}"
    return _without_middle(text, most)


def shorten(text: str, most: int = SHOWN) -> str:
    """A text as a line of a message shows it: what is not printed escaped, the middle left out."""
    text = text if len(text) <= 4 * most else text[: 2 * most] + text[-2 * most :]
    shown = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
    return _without_middle(shown, most)


def _without_middle(text: str, most: int) -> str:
    half = (most - 3) // 2
    return text if len(text) <= most else f"{text[:half]}...{text[-half:]}"


def _long(value: object, most: int) -> TypeGuard[str]:
    return isinstance(value, str) and len(value) > 4 * most


def nearest(given: str, known: Iterable[str]) -> str | None:
    """The known name closest to `given` in spelling, or None."""
    names = {name.lower(): name for name in map(str, known)}
    found = difflib.get_close_matches(str(given).lower(), names, n=1, cutoff=0.6)
    return names[found[0]] if found else None


def nearest_beside(path: Path) -> str:
    """` Did you mean PATH?` if a missing path has a similarly named sibling, else nothing."""
    siblings = [sibling.name for sibling in path.parent.iterdir()] if path.parent.is_dir() else []
    close = nearest(path.name, siblings)
    return f" Did you mean {path.parent / close}?" if close else ""


def check_exists(path: Path) -> None:
    """Refuse a missing file or folder, with the closest name."""
    if not path.exists():
        raise AdaptkitError(f"there is no file {path}.{nearest_beside(path)}")


def unknown(kind: str, given: str, known: Iterable[str], hint: str = "") -> AdaptkitError:
    """An error for a name that is not in `known`: lists the known names and the closest match.

    >>> raise unknown("method", "lroa", ["lora", "ia3"])
    Traceback (most recent call last):
    adaptkit.errors.AdaptkitError: unknown method 'lroa'; did you mean 'lora'? Known: ia3, lora.
    """
    names, given = sorted(map(str, known)), str(given)
    given = given if len(given) <= 80 else f"{given[:80]}..."
    close = nearest(given, names)
    guess = f"; did you mean {close!r}?" if close else "."
    more = f" and {len(names) - 100} more" if len(names) > 100 else ""
    listed = f" Known: {', '.join(names[:100])}{more}." if names else " There are none."
    return AdaptkitError(f"unknown {kind} {given!r}{guess}{listed}{' ' + hint if hint else ''}")


def listed(names: Iterable[object], most: int = 20) -> str:
    """Names for a message, the first ones and the number of the others; each is shortened.

    >>> listed("abc", 2)
    'a, b and 1 more'
    """
    names = list(names)
    shown = ", ".join(str(name)[:SHOWN] for name in names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown
