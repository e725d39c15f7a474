"""A file of rows: its bytes, unpacked, and its text, each read once."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import psutil

from adaptkit.data.readers.compressed import unpack
from adaptkit.data.readers.decoding import decode_bytes
from adaptkit.errors import AdaptkitError

HEAD_LINES, HEAD_CHARACTERS = 400, 200_000


class File:
    """A file that readers and detection share.

    notes: what was found out while reading, to print.
    """

    def __init__(self, path: Path, encoding: str = "utf-8") -> None:
        self.path, self.encoding = path, encoding
        self.notes: list[str] = []

    def __str__(self) -> str:
        return str(self.path)

    @cached_property
    def _unpacked(self) -> tuple[bytes, str]:
        check_regular(self.path)
        try:
            raw = self.path.read_bytes()
        except OSError as problem:
            raise AdaptkitError(f"{self.path} cannot be read: {problem.strerror}.") from None
        return unpack(raw, self.path)

    @property
    def raw(self) -> bytes:
        """The bytes, unpacked if the file is compressed."""
        return self._unpacked[0]

    @property
    def name(self) -> str:
        """The file's name, without the ending of its compression."""
        return self._unpacked[1]

    @property
    def ending(self) -> str:
        """The ending in small letters, such as `.csv`, also of `rows.csv.gz`."""
        return Path(self.name).suffix.lower()

    @cached_property
    def text(self) -> str:
        """The text, without a byte order mark.

        Raises:
            AdaptkitError: a byte does not decode (with its line and column, and what would), or
                Python does not know the encoding.
        """
        text, note = decode_bytes(self.raw, self.encoding, str(self.path))
        if note:
            self.notes.append(f"{self.path.name} {note}")
        return text

    def lines(self) -> Iterator[tuple[int, str]]:
        """(number, line) without line ends."""
        return lines_of(self.text)

    @cached_property
    def head(self) -> list[str]:
        """The first lines; the last of them may be cut."""
        return [line for _, line in lines_of(self.text[:HEAD_CHARACTERS])][:HEAD_LINES]

    @cached_property
    def filled(self) -> list[str]:
        """The first lines that are not blank."""
        return [line for line in self.head if line.strip()]


def lines_of(text: str) -> Iterator[tuple[int, str]]:
    """(number, line) without line ends.

    Only \\n and \\r\\n end a line: a text may hold any other Unicode separator.
    """
    for number, line in enumerate(text.split("\n"), 1):
        yield number, line.removesuffix("\r")


def check_regular(path: Path) -> None:
    """Refuse a pipe, a device or a file larger than the memory, before anything is read.

    Rows are read more than once, which pipes do not allow; devices may never end.
    """
    try:
        found = path.stat()
    except OSError as problem:
        raise AdaptkitError(f"{path} cannot be read: {problem.strerror}.") from None
    if stat.S_ISDIR(found.st_mode):
        raise AdaptkitError(f"{path} is a folder; a file is expected.")
    if not stat.S_ISREG(found.st_mode):
        kind = "a pipe" if stat.S_ISFIFO(found.st_mode) else "a device or a socket"
        raise AdaptkitError(
            f"{path} is {kind} and no file: write the rows to a file first and give that one."
        )
    if found.st_size > (free := psutil.virtual_memory().available):
        raise AdaptkitError(
            f"{path} has {found.st_size / 1e9:,.0f} GB and {free / 1e9:,.0f} GB of memory are "
            f"free: divide it, for example with head -n 1000000 {path.name}."
        )
