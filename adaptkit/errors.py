"""The one error type: what was given, what was expected, the closest match, and the fix."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from pathlib import Path


class AdaptkitError(Exception):
    """Something that the user gave cannot be used.

    The message says what, why, and how to fix it. It is safe to print: whatever it quotes, control
    characters are escaped and the middle of a long message is left out.
    """

    def __init__(self, message: str) -> None:
        super().__init__(_without_middle(escaped(_ends_of(message, LONGEST)), LONGEST))


LONGEST = 2000  # characters of a message
SHOWN = 80  # characters of a value in a message
LONGEST_NAME = 300  # characters of a name that is compared with others

# What moves a terminal's cursor, changes its colours, or turns the direction of what follows; and
# halves of surrogate pairs, which cannot be printed.
_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def escaped(text: str) -> str:
    """A text that a terminal shows and does not obey; JSON stays the same JSON.

    >>> escaped("red: \\x1b[31m")
    'red: \\\\u001b[31m'
    """
    return _UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def quoted(value: object, most: int = SHOWN) -> str:
    """A value as a message shows it: on one line, escaped, and shortened in the middle.

    >>> quoted("a" * 99, 11)
    "'aaa...aaa'"
    """
    try:
        text = repr(_ends_of(value, most) if isinstance(value, str) else value)
    except (ValueError, RecursionError):  # numbers of thousands of digits, lists in lists in lists
        return f"a {type(value).__name__}"
    return _without_middle(text, most)


def shorten(text: str, most: int = SHOWN) -> str:
    """A text as a line of a message shows it: what is not printed escaped, the middle left out."""
    shown = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in _ends_of(text, most))
    return _without_middle(shown, most)


def _ends_of(text: str, most: int) -> str:
    """More than `most` characters of both ends of a text, which is as good as all of a long one."""
    return text if len(text) <= 4 * most else text[: 2 * most] + text[-2 * most :]


def _without_middle(text: str, most: int) -> str:
    half = (most - 3) // 2
    return text if len(text) <= most else f"{text[:half]}...{text[-half:]}"


def nearest(given: str, known: Iterable[str]) -> str | None:
    """The known name closest to `given` in spelling, or None."""
    names = {name.lower(): name for name in map(str, known) if len(name) <= LONGEST_NAME}
    found = difflib.get_close_matches(str(given)[:LONGEST_NAME].lower(), names, n=1, cutoff=0.6)
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
    names = sorted(map(str, known))
    close = nearest(given, names)
    guess = f"; did you mean {quoted(close)}?" if close else "."
    more = f" and {len(names) - 100} more" if len(names) > 100 else ""
    shown = ", ".join(map(shorten, names[:100]))
    every = f" Known: {shown}{more}." if names else " There are none."
    return AdaptkitError(
        f"unknown {kind} {quoted(given)}{guess}{every}{' ' + hint if hint else ''}"
    )


def listed(names: Iterable[object], most: int = 20) -> str:
    """Names for a message, the first ones and the number of the others; each is shortened.

    >>> listed("abc", 2)
    'a, b and 1 more'
    """
    names = list(names)
    shown = ", ".join(shorten(str(name)) for name in names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown
