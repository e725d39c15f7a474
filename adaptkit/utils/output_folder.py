"""The output folder of a command: tried before hours of work, not after."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from adaptkit.errors import AdaptkitError
from adaptkit.utils.atomic_files import make_folder, staging, sweep
from adaptkit.utils.writing import why_not_written

NOT_OURS = ("lost+found",)  # what an empty disk has


def check_empty(folder: str | Path, otherwise: str = "") -> None:
    """Refuse an output folder that is not empty or cannot be written.

    Args:
        otherwise: what the user can do instead of choosing another folder.
    """
    folder = Path(folder)
    check_writable(folder)
    if folder.is_dir() and any(path.name not in NOT_OURS for path in folder.iterdir()):
        hint = f", {otherwise}" if otherwise else ""
        raise AdaptkitError(f"--output_dir {folder} is not empty; give another one{hint}.")


def place_for(folder: str | Path) -> Path:
    """The folder itself, or the nearest parent that exists: on the disk where it is or will be.

    Raises:
        NotADirectoryError: a file is in the way.
    """
    folder = Path(folder)
    place = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not place.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(place))
    return place


def check_writable(folder: str | Path) -> None:
    """Refuse an output folder in which no file can be written; sweep what killed runs left there.

    Nothing is left of the trial, except for a folder that is missing and that a link names.
    """
    folder = Path(folder)
    try:
        if folder.exists() and not folder.is_dir():
            raise AdaptkitError(f"--output_dir {folder} is a file.")
        if folder.is_symlink():
            make_folder(folder)
        place = place_for(folder)
        for one in {place, place_for(folder.absolute().parent)}:
            sweep(one)
        with staging(place) as trial:
            (trial / "trial").write_bytes(bytes(1 << 12))
    except (AdaptkitError, OSError) as problem:
        cause = problem if isinstance(problem, OSError) else problem.__cause__
        if not isinstance(cause, Exception):
            raise
        raise AdaptkitError(
            f"--output_dir {folder} cannot be written: {why_not_written(cause)}; give another one."
        ) from problem
