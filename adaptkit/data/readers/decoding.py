"""Decode bytes to lines, with the location of bytes that do not decode."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from adaptkit.errors import AdaptkitError


def decode(path: Path, encoding: str) -> str:
    """The text of a file, without a byte order mark.

    Raises:
        AdaptkitError: a byte does not decode (with its line and column), or Python does not know
            the encoding.
    """
    raw = path.read_bytes()
    try:
        return raw.decode(encoding).removeprefix("\ufeff")
    except LookupError:
        raise AdaptkitError(
            f"--encoding {encoding} is not known to Python; try utf-8, latin-1 or gb18030."
        ) from None
    except UnicodeDecodeError as problem:
        line = raw.count(b"\n", 0, problem.start) + 1
        column = problem.start - (raw.rfind(b"\n", 0, problem.start) + 1) + 1
        raise AdaptkitError(
            f"{path}:{line}: byte 0x{raw[problem.start]:02x} at column {column} is not "
            f"{encoding.upper()}; name the encoding, "
            "as with --encoding latin-1 (gb18030 for Chinese), or convert the file."
        ) from None


def is_number(text: str) -> bool:
    """True if a text is a number in Python's notation."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def lines_of(text: str) -> Iterator[tuple[int, str]]:
    """(number, line) without line ends.

    Only \\n and \\r\\n end a line: a text may hold any other Unicode separator.
    """
    for number, line in enumerate(text.split("\n"), 1):
        yield number, line.removesuffix("\r")
