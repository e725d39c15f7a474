"""Atomic files and folders: a reader sees the old version or the new one, never a mix.

Files are replaced in place, so a folder may be a link, a mount point or the current folder, and
what else lies in it is never touched. Several files of a folder change together by a journal:

1. The new files are written to a folder of our own inside it, `.adaptkit-new-XXXX/files`.
2. One rename of that to `.adaptkit-commit` makes them the current version.
3. They are moved out of it, over the old ones.

`read_together` prefers what is still in `.adaptkit-commit`. So a kill before step 2 leaves the old
version, a kill after it the new one, and `finish_replacing` or the next writer does the rest.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from adaptkit.errors import AdaptkitError
from adaptkit.utils.locks import locked
from adaptkit.utils.whole_files import read_whole
from adaptkit.utils.writing import writing

NEW, COMMIT = ".adaptkit-new-", ".adaptkit-commit"
FILES, LOCK = "files", "lock"  # in a folder of step 1
GONE = ".gone"  # in the journal: a mark for each file of the old version to remove
TRIES = 100  # how often a reader may find that a folder changed while it read


def without_parts(path: str) -> tuple[Path, str]:
    """`file.json#part` as the file and the part; a file may also have such a name."""
    whole, _, part = (path, "", "") if Path(path).exists() else path.partition("#")
    return Path(whole), part


@contextmanager
def new_file(path: str | Path, private: bool = False) -> Iterator[Path]:
    """A path to write to; if the block succeeds, it replaces `path` atomically.

    A device or a pipe is written to directly.

    private: the new file is its owner's only.

    Raises:
        AdaptkitError: it cannot be written; the old file is as it was.
    """
    path = Path(path)
    if path.exists() and not path.is_file() and not path.is_dir():
        with writing(path):
            yield path
        return
    with staging(path.parent) as staged, writing(path):
        yield staged / path.name
        _seal(staged, 0o600 if private else 0o644)
        os.replace(staged / path.name, path)
        _flush(path.parent)


@contextmanager
def new_version(folder: str | Path, without: Sequence[str] = ()) -> Iterator[Path]:
    """A folder to fill; if the block succeeds, its files replace those of `folder` all at once.

    Other files of `folder` stay as they are.

    Args:
        folder: created if missing.
        without: files of earlier versions to remove.

    Raises:
        AdaptkitError: it cannot be written; the old version is as it was.
    """
    folder = Path(folder)
    with staging(folder) as staged, writing(folder):
        yield staged
        _check_targets(staged, folder)
        for name in without:
            (staged / GONE).mkdir(exist_ok=True)
            (staged / GONE / name).touch()
        _seal(staged)
        _commit(staged, folder)


@contextmanager
def staging(folder: str | Path) -> Iterator[Path]:
    """A new, empty folder inside `folder` (created if missing), removed at the end.

    If the process is killed, `sweep` removes it.
    """
    folder, ours = make_folder(folder), False
    while not ours:  # until no other process has swept it before it was locked
        with writing(folder):
            root = Path(tempfile.mkdtemp(dir=folder, prefix=NEW))
        with locked(root / LOCK) as ours:
            if ours:
                try:
                    with writing(folder):
                        (root / FILES).mkdir()
                    yield root / FILES
                finally:
                    shutil.rmtree(root, ignore_errors=True)


def sweep(folder: str | Path) -> None:
    """Complete what a killed process had committed in `folder`, and remove what it had not."""
    folder = Path(folder)
    finish_replacing(folder)
    for root in folder.glob(f"{NEW}*"):
        with locked(root / LOCK, without_locks=False) as ours:
            if ours:  # nobody writes there any more
                shutil.rmtree(root, ignore_errors=True)


def finish_replacing(folder: str | Path) -> None:
    """Step 3 for a version that was committed, if there is one; several processes may do it.

    Raises:
        AdaptkitError: the folder cannot be written.
    """
    folder = Path(folder)
    journal = folder / COMMIT
    if not journal.is_dir():
        return
    with writing(folder):
        for mark in _files_in(journal / GONE):
            (folder / mark.name).unlink(missing_ok=True)
            mark.unlink(missing_ok=True)
        for file in _files_in(journal):
            _move(file, folder / file.relative_to(journal))
        for empty, _, _ in os.walk(journal, topdown=False):
            _remove_if_empty(Path(empty))


def read_together(folder: str | Path, names: Sequence[str]) -> dict[str, bytes]:
    """The contents of these files of one folder, if they exist, all from one version of it.

    All files are opened, read, and looked up again: if each is still the one that was opened, all
    were current at one moment.

    Raises:
        AdaptkitError: the folder changes all the time.
        OSError: a file cannot be read.
    """
    for _ in range(TRIES):
        with ExitStack() as opened:
            before = {name: _open(Path(folder), name, opened) for name in names}
            contents = {
                name: read_whole(file, Path(folder) / name)
                for name, file in before.items()
                if file is not None
            }
            if all(_is_current(Path(folder), name, file) for name, file in before.items()):
                return contents
    raise AdaptkitError(f"{folder} was replaced or deleted while it was read; try again.")


def exists_in(folder: str | Path, name: str) -> bool:
    """True if the current version of a folder has this file."""
    return any(stat.S_ISREG(_stat(path)) for path in _places(Path(folder), name))


def identity_of(folder: str | Path, names: Sequence[str]) -> tuple:
    """Differs after files of a folder were replaced; nothing is read."""
    found = []
    for name in names:
        for place in _places(Path(folder), name):
            try:
                state = place.stat()
            except OSError:
                continue
            found.append((name, state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns))
            break
    return tuple(found)


def make_folder(path: str | Path, private: bool = False) -> Path:
    """Create a folder and its parents if they are missing; a link may lead to a missing one.

    private: a new one is its owner's only.

    Raises:
        AdaptkitError: it cannot be created.
    """
    with writing(path):
        os.makedirs(os.path.realpath(path), 0o700 if private else 0o777, exist_ok=True)
    return Path(path)


def _check_targets(staged: Path, folder: Path) -> None:
    """Refuse to replace a folder by a file, before anything is replaced."""
    for file in _files_in(staged):
        if (target := folder / file.relative_to(staged)).is_dir():
            raise AdaptkitError(f"{target} is a folder, where a file is to be written; move it.")


def _commit(staged: Path, folder: Path) -> None:
    while True:
        finish_replacing(folder)
        try:
            os.rename(staged, folder / COMMIT)
            break
        except OSError as problem:  # another process has committed meanwhile
            if problem.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
    _flush(folder)
    finish_replacing(folder)
    _flush(folder)


def _files_in(folder: Path) -> list[Path]:
    """All files, below subfolders too; a folder may vanish meanwhile."""
    return sorted(Path(root) / name for root, _, names in os.walk(folder) for name in names)


def _move(file: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    for left in reversed(range(TRIES)):
        try:
            os.replace(file, target)
            return
        except FileNotFoundError:  # another process was faster; a third may have put it there again
            if not file.exists():
                return
            if not left:
                raise


def _remove_if_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError as problem:
        # gone, or it already holds the version of another process
        if problem.errno not in (errno.ENOENT, errno.ENOTEMPTY, errno.EEXIST):
            raise


def _seal(folder: Path, mode: int = 0o644) -> None:
    """Give the files one mode, and write them and their names through to the disk."""
    for path in (*folder.rglob("*"), folder):
        # safetensors writes files that only their owner can read
        os.chmod(path, 0o755 if path.is_dir() else mode)
        _flush(path)


def _flush(path: Path) -> None:
    """Write a file, or the names in a folder, through to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _places(folder: Path, name: str) -> tuple[Path, ...]:
    """Where the current version of a file may be: in the journal, else in the folder."""
    if (folder / COMMIT / GONE / name).exists():
        return ()
    return folder / COMMIT / name, folder / name


def _stat(path: Path) -> int:
    """The mode of what is at a path; 0 if nothing is, or nothing that can be reached."""
    try:
        return path.stat().st_mode
    except OSError:
        return 0


def _open(folder: Path, name: str, opened: ExitStack) -> int | None:
    """A regular file of the current version; None for others, which could block forever."""
    for place in _places(folder, name):
        try:
            file = os.open(place, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        except (FileNotFoundError, NotADirectoryError):
            continue
        opened.callback(os.close, file)
        return file if stat.S_ISREG(os.fstat(file).st_mode) else None
    return None


def _is_current(folder: Path, name: str, before: int | None) -> bool:
    """True if a lookup finds the same, unchanged file; an open one's number is not used again."""
    with ExitStack() as opened:
        now = _open(folder, name, opened)
        if before is None or now is None:
            return before is now
        return _identity(before) == _identity(now)


def _identity(file: int) -> tuple[int, ...]:
    found = os.fstat(file)
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
