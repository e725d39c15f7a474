"""Atomic files and folders: a reader sees the old version or the new one, never a mix."""

from __future__ import annotations

import ctypes
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from adaptkit.errors import AdaptkitError


def check_empty(folder: str | Path, otherwise: str = "") -> None:
    """Refuse an output folder that is not empty: its files would stay beside the new ones.

    Args:
        otherwise: what the user can do instead of choosing another folder.
    """
    folder = Path(folder)
    if folder.is_file():
        raise AdaptkitError(f"--output_dir {folder} is a file.")
    if folder.is_dir() and any(folder.iterdir()):
        hint = f", {otherwise}" if otherwise else ""
        raise AdaptkitError(f"--output_dir {folder} is not empty; give another one{hint}.")
    _check_writable(folder)


def _check_writable(folder: Path) -> None:
    """Refuse a folder that cannot be made or written, before hours of work."""
    place = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    try:
        os.rmdir(tempfile.mkdtemp(dir=place, prefix=".adaptkit."))
    except OSError as problem:
        raise AdaptkitError(
            f"--output_dir {folder} cannot be written: {problem.strerror}, in {place}; give "
            "another one."
        ) from None


def without_parts(path: str) -> tuple[Path, str]:
    """`file.json#part` as the file and the part; a file may also have such a name."""
    whole, _, part = (path, "", "") if Path(path).exists() else path.partition("#")
    return Path(whole), part


_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


@contextmanager
def new_file(path: str | Path) -> Iterator[Path]:
    """A path to write to; if the block succeeds, it replaces `path` atomically."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    try:
        yield Path(name)
        os.chmod(name, 0o644)
        os.replace(name, path)
    finally:
        Path(name).unlink(missing_ok=True)


@contextmanager
def new_folder(path: str | Path) -> Iterator[Path]:
    """A folder to fill; if the block succeeds, it replaces `path` atomically.

    Other files of the old folder are moved to the new one. A kill at any moment leaves the old
    folder or the new one.
    """
    path = Path(path).absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    try:
        yield staged
        os.chmod(staged, 0o755)
        for file in staged.rglob("*"):
            if file.is_file():
                os.chmod(file, 0o644)  # safetensors writes files that only their owner can read
                _flush(file)
        if path.exists():
            _exchange(staged, path)
            for old in staged.iterdir():
                if not (path / old.name).exists():
                    os.rename(old, path / old.name)
        else:
            os.rename(staged, path)
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def read_together(folder: str | Path, names: Sequence[str]) -> dict[str, bytes]:
    """The contents of these files of one folder, if they exist, all from one version of the folder.

    Raises:
        FileNotFoundError: the folder was replaced or deleted meanwhile, and some of its files were
            gone.
        OSError: the folder cannot be opened, or a file cannot be read.
    """
    opened = os.open(folder, os.O_RDONLY)
    try:
        found = {name: _read_in(opened, name) for name in names if _exists_in(opened, name)}
        if len(found) < len(names) and not os.path.samestat(os.fstat(opened), os.stat(folder)):
            raise FileNotFoundError(f"{folder} was replaced")
        return found
    finally:
        os.close(opened)


def _exists_in(folder: int, name: str) -> bool:
    """True for an existing regular file; reading a pipe or device could block forever."""
    try:
        return stat.S_ISREG(os.stat(name, dir_fd=folder).st_mode)
    except FileNotFoundError:
        return False


def _read_in(folder: int, name: str) -> bytes:
    with open(name, "rb", opener=lambda path, flags: os.open(path, flags, dir_fd=folder)) as stream:
        return stream.read()


def _flush(file: Path) -> None:
    with open(file, "rb") as stream:
        os.fsync(stream.fileno())


def _exchange(one: Path, other: Path) -> None:
    """Swap two folders: atomically on Linux, elsewhere by three renames."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if hasattr(libc, "renameat2"):
            done = libc.renameat2(
                _AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE
            )
            if done == 0:
                return
    aside = one.with_name(one.name + ".old")
    os.rename(other, aside)
    os.rename(one, other)
    os.rename(aside, one)
