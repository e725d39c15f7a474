"""Settings for reading a file."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Reading:
    """How to read a file. Fields that are None are detected.

    `column_names`: for a table without a header.
    `wanted`: the columns of the task, to tell a header from a row.
    `languages`: the extensions of two parallel files, source first.
    `labelled`: the rows hold labels. If false, they are to be answered, and first words or a second
        file are not read as labels.
    """

    format: str | None = None
    encoding: str = "utf-8"
    column_names: tuple[str, ...] | None = None
    wanted: tuple[str, ...] = ()
    tag_column: int | None = None
    languages: tuple[str, str] | None = None
    labelled: bool = True
