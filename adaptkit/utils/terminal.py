"""Terminal output: tables, and errors without a traceback."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Sequence

from tabulate import tabulate

from adaptkit.errors import AdaptkitError


def format_table(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells as lines, the first row as header; tabulate handles wide characters.

    >>> print(format_table([("name", "kB"), ("stars", "302")]))
    name    kB
    stars   302
    """
    cells = [["".join(_printable(one) for one in cell) for cell in row] for row in rows]
    lines = tabulate(cells[1:], cells[0], tablefmt="plain", disable_numparse=True).splitlines()
    return "\n".join(line.rstrip() for line in lines)


def _printable(character: str) -> str:
    """The character, or a blank if a terminal would not print it as it is."""
    return character if character.isprintable() else " "


def guarded(main: Callable[[], object]) -> None:
    """Run a command; an AdaptkitError becomes one message on stderr and exit code 2.

    If the reader of its output has gone (`| head`), it ends silently.
    """
    try:
        main()
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(
            os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno()
        )  # the rest is flushed there at exit
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        print("\nstopped by Ctrl-C", file=sys.stderr)
        raise SystemExit(128 + signal.SIGINT) from None
    except AdaptkitError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
