"""A lock on a file that ends with the process that holds it, however that ends."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # not on this system
    fcntl = None  # type: ignore[assignment]


@contextmanager
def locked(path: Path, without_locks: bool = True) -> Iterator[bool]:
    """Create and lock a file while the block runs; False if another process holds it or its folder
    is gone.

    Args:
        without_locks: the answer on a file system that has none.
    """
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except (FileNotFoundError, NotADirectoryError):
        yield False
        return
    try:
        yield _lock(handle, without_locks) and path.exists()
    finally:
        os.close(handle)


def _lock(handle: int, without_locks: bool) -> bool:
    if fcntl is None:
        return without_locks
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return without_locks
    return True
