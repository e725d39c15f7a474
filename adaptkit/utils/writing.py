"""One error for every way in which writing fails: full, read-only, deleted, over a quota."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from adaptkit.errors import AdaptkitError

REASONS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "your quota of disk space is used up",
    errno.EROFS: "the disk is read-only",
    errno.EFBIG: "the file would be larger than is allowed",
    errno.ENOENT: "its folder was deleted meanwhile",
}
# safetensors and tokenizers say the number in words, torch does not
IN_WORDS = re.compile(r"\(os error (\d+)\)")
TORCH = re.compile(r"PytorchStreamWriter|unexpected pos|iostream error|file write failed")


@contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """Say which file or folder could not be written, and why.

    Raises:
        AdaptkitError: the block failed to write.
    """
    try:
        yield
    except AdaptkitError:
        raise
    except Exception as problem:
        if (why := why_not_written(problem)) is None:
            raise
        raise AdaptkitError(
            f"{path} cannot be written: {why}. What was there before is still there."
        ) from problem


def why_not_written(problem: Exception) -> str | None:
    """The reason in words if a library failed to write a file, else None."""
    if isinstance(problem, OSError) and problem.errno is not None:
        return REASONS.get(problem.errno, os.strerror(problem.errno))
    if match := IN_WORDS.search(str(problem)):
        return REASONS.get(int(match[1]), os.strerror(int(match[1])))
    return "the disk is full, or does not take more" if TORCH.search(str(problem)) else None
