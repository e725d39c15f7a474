"""Terminal output: tables, and errors without a traceback."""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import TextIO, TypeVar

from tabulate import tabulate

from adaptkit.errors import AdaptkitError, escaped
from adaptkit.utils.writing import why_not_written

NOT_WRITTEN = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)
T = TypeVar("T")


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


def say(text: str, stream: TextIO | None = None) -> None:
    """Print a text that may hold names, labels and texts of others."""
    print(escaped(text), file=stream)


def progress(items: Iterable[T], title: str, unit: str, total: int | None = None) -> Iterable[T]:
    """The items, with a bar on stderr while they are taken, if that is a terminal."""
    from tqdm.auto import tqdm

    shown = sys.stderr.isatty()
    return tqdm(items, title, total, unit=unit, disable=not shown, leave=False)


def guarded(main: Callable[[], object]) -> None:
    """Run a command; an AdaptkitError becomes one message on stderr and exit code 2.

    So does a full disk. If the reader of its output has gone (`| head`), it ends silently.
    """
    try:
        main()
        sys.stdout.flush()
    except BrokenPipeError:
        _drop_output()
        raise SystemExit(1) from None
    except OSError as problem:
        if problem.errno not in NOT_WRITTEN:
            raise
        _drop_output()
        where = problem.filename or "what this command prints"
        print(f"error: {where} cannot be written: {why_not_written(problem)}.", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("\nstopped by Ctrl-C", file=sys.stderr)
        raise SystemExit(128 + signal.SIGINT) from None
    except AdaptkitError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None


def _drop_output() -> None:
    """What is left of the output goes nowhere when it is flushed at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
