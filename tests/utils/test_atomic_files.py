"""Files and folders appear whole or not at all, and nothing else is touched."""

import os
import random
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from adaptkit.errors import AdaptkitError
from adaptkit.utils.atomic_files import (
    COMMIT,
    NEW,
    exists_in,
    new_file,
    new_version,
    read_together,
    staging,
    sweep,
)

NAMES = ("config", "weights", "card", "parts/one")
FOREIGN = {"notes.txt": "mine", "parts/two": "mine too", "models/deep/x": "and mine"}


@pytest.fixture
def in_memory():
    """A folder in memory, if there is one: some tests write very often."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        yield Path(folder)


def write(folder, contents):
    for name, content in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)


def version(folder) -> set[str]:
    """The versions that a reader finds in the files of a folder."""
    found = read_together(folder, NAMES)
    assert found.keys() == {*NAMES}
    return {content.decode() for content in found.values()}


def old_folder(folder):
    """A folder with an old version, and files of somebody else."""
    write(folder, dict.fromkeys(NAMES, "old") | FOREIGN)
    return folder


def replace(folder, content="new"):
    with new_version(folder, without=("stale",)) as staged:
        write(staged, dict.fromkeys(NAMES, content))


def files_in(folder) -> dict[str, str]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_text() for path in found}


def killed_at(event: int, work) -> bool:
    """Run `work` in another process that dies at this file operation; False if it had ended."""
    process = os.fork()
    if process == 0:
        left = [event]

        def count(name, args):
            if name.startswith(("os.", "open", "tempfile.", "shutil.")):
                left[0] -= 1
                if left[0] < 0:
                    os._exit(9)

        sys.addaudithook(count)
        try:
            work()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 9


def test_a_kill_at_any_operation_leaves_the_old_version_or_the_new_one_and_all_other_files(
    in_memory,
):
    seen, event = [], 0
    while True:
        folder = old_folder(in_memory / f"{event}")
        write(folder, {"stale": "old"})
        if not killed_at(event, partial(replace, folder)):
            break
        left = version(folder)
        assert left in ({"old"}, {"new"}), event
        assert exists_in(folder, "stale") == (left == {"old"})
        seen.append(left == {"new"})
        assert files_in(folder).items() >= FOREIGN.items()
        sweep(folder)
        gone = {"stale": "old"} if left == {"old"} else {}
        assert files_in(folder) == dict.fromkeys(NAMES, left.pop()) | FOREIGN | gone, event
        assert not list(folder.glob(".adaptkit*"))
        event += 1
    assert version(folder) == {"new"}
    assert seen == sorted(seen)  # the old version first, then the new one
    assert seen.count(True) > 8
    assert seen.count(False) > 8


def test_a_kill_while_a_folder_is_written_first_leaves_all_of_it_or_nothing(in_memory):
    event = random.randrange(4)  # every fourth operation
    while killed_at(event, partial(replace, folder := in_memory / f"{event}")):
        found = read_together(folder, NAMES)
        assert len(found) in (0, 4), event
        sweep(folder)
        assert len(files_in(folder)) == len(found)
        event += 4
    assert version(folder) == {"new"}


def test_readers_never_see_a_mix_while_a_folder_is_replaced(in_memory):
    folder, ended = old_folder(in_memory / "d"), threading.Event()

    def write_on():
        for number in range(60):
            replace(folder, f"{number}")
        ended.set()

    writer = threading.Thread(target=write_on)
    writer.start()
    seen = set()
    while not ended.is_set():
        found = version(folder)
        assert len(found) == 1, found
        seen |= found
    writer.join()
    assert len(seen) > 3
    assert version(folder) == {"59"}
    assert files_in(folder).items() >= FOREIGN.items()


def test_two_writers_leave_one_whole_version(tmp_path):
    folder = old_folder(tmp_path / "d")
    with ThreadPoolExecutor(2) as writers:
        list(writers.map(lambda name: [replace(folder, name) for _ in range(40)], "ab"))
    assert len(version(folder)) == 1
    assert files_in(folder).items() >= FOREIGN.items()
    assert not list(folder.glob(".adaptkit*"))


def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(tmp_path):
    folder = old_folder(tmp_path)

    def stop(manager, name):
        with manager(folder / name) as new:
            (new / "x" if new.is_dir() else new).write_text("half")
            raise KeyboardInterrupt

    for manager, name in ((new_file, "card"), (new_version, ".")):
        with pytest.raises(KeyboardInterrupt):
            stop(manager, name)
    assert files_in(folder) == dict.fromkeys(NAMES, "old") | FOREIGN
    assert not list(folder.glob(".adaptkit*"))


def test_links_and_the_current_folder_are_written_where_they_lead(tmp_path, monkeypatch):
    real = old_folder(tmp_path / "elsewhere/real")
    (tmp_path / "link").symlink_to(real)
    (tmp_path / "broken").symlink_to(tmp_path / "elsewhere/missing")
    replace(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert files_in(real) == dict.fromkeys(NAMES, "new") | FOREIGN
    replace(tmp_path / "broken")
    assert version(tmp_path / "elsewhere/missing") == {"new"}
    monkeypatch.chdir(real)
    replace(".", "again")
    assert files_in(real) == dict.fromkeys(NAMES, "again") | FOREIGN


def test_a_folder_where_a_file_is_to_be_written_is_refused_before_anything_changes(tmp_path):
    folder = old_folder(tmp_path)
    (folder / "card").unlink()
    write(folder, {"card/mine": "mine"})
    with pytest.raises(AdaptkitError, match="card is a folder, where a file is to be written"):
        replace(folder)
    assert (folder / "config").read_text() == "old"
    assert (folder / "card/mine").read_text() == "mine"
    written = pytest.raises(AdaptkitError, match="card cannot be written: Is a directory")
    with written, new_file(folder / "card") as new:
        new.write_text("new")


def test_what_another_process_is_writing_is_not_swept(tmp_path):
    with staging(tmp_path) as staged:
        (staged / "x").write_text("half")
        sweep(tmp_path)
        assert (staged / "x").read_text() == "half"
    (tmp_path / f"{NEW}dead/files").mkdir(parents=True)
    (tmp_path / f"{NEW}note.txt").write_text("no folder of ours")
    sweep(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [f"{NEW}note.txt"]


def test_a_device_is_written_to_and_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    read = []
    reader = threading.Thread(target=lambda: read.append((tmp_path / "pipe").read_text()))
    reader.start()
    with new_file(tmp_path / "pipe") as new:
        new.write_text("text")
    reader.join()
    assert read == ["text"]
    assert (tmp_path / "pipe").is_fifo()


def test_a_new_version_is_written_through_to_the_disk_before_it_counts(tmp_path, monkeypatch):
    folder, flushed, fsync = old_folder(tmp_path), [], os.fsync

    def noted(handle):
        fsync(handle)
        flushed.append((os.fstat(handle).st_ino, (folder / COMMIT).exists()))

    monkeypatch.setattr(os, "fsync", noted)
    replace(folder)
    written = {(folder / name).stat().st_ino for name in NAMES}
    assert written <= {inode for inode, committed in flushed if not committed}
    assert (folder.stat().st_ino, True) in flushed  # the commit, before files are moved
    assert flushed[-1] == (folder.stat().st_ino, False)
