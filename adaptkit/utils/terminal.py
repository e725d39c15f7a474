"""What people see on a terminal: tables, and errors without a traceback."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Sequence

from tabulate import tabulate

from adaptkit.errors import AdaptkitError


def format_table(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells as lines, the first row as headings; by tabulate, which knows how wide a
    character is.

    >>> print(format_table([("name", "kB"), ("stars", "302")]))
    name    kB
    stars   302
    """
    cells = [["".join(_printable(one) for one in cell) for cell in row] for row in rows]
    lines = tabulate(cells[1:], cells[0], tablefmt="plain", disable_numparse=True).splitlines()
    return "\n".join(line.rstrip() for line in lines)


def _printable(character: str) -> str:
    """The character, or a blank for what a terminal would not print as it is."""
    return character if character.isprintable() else " "


def guarded(main: Callable[[], object]) -> None:
    """Run a command; a user's error is one message on stderr and exit code 2, with no traceback.

    Where the reader of its output has gone (`| head`), it ends without a word.
    """
    # bitsandbytes warns at every start that a faster kernel for 4 bits is not installed, whatever
    # is asked.
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
    try:
        main()
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(
            os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno()
        )  # what is left is flushed there at exit
        raise SystemExit(1) from None
    except AdaptkitError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
