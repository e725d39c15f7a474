"""How a file is to be read."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Reading:
    """How to read. What is None is detected.

    `column_names`: of a table without a header. `wanted`: the columns that the task asks for, to
    tell a header from a row.
    `languages`: the endings of two parallel files, source first. `labelled`: the rows hold what is
    to be foretold; without it they are to be answered, and first words or a second file are not
    taken for answers.
    """

    format: str | None = None
    encoding: str = "utf-8"
    column_names: tuple[str, ...] | None = None
    wanted: tuple[str, ...] = ()
    tag_column: int | None = None
    languages: tuple[str, str] | None = None
    labelled: bool = True
