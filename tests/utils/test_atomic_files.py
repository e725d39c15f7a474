"""Files and folders appear whole or not at all."""

import pytest

from adaptkit.errors import AdaptkitError
from adaptkit.utils.atomic_files import check_empty, new_file, new_folder


def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(tmp_path):
    (tmp_path / "a.txt").write_text("old")
    (tmp_path / "d").mkdir()
    (tmp_path / "d/x").write_text("old")

    def stop(manager, name):
        with manager(tmp_path / name) as new:
            (new / "x" if new.is_dir() else new).write_text("half")
            raise KeyboardInterrupt

    for manager, name in ((new_file, "a.txt"), (new_folder, "d")):
        with pytest.raises(KeyboardInterrupt):
            stop(manager, name)
    assert (tmp_path / "a.txt").read_text() == (tmp_path / "d/x").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.txt", "d"]


def test_an_output_folder_that_cannot_be_written_is_refused_at_once(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(AdaptkitError, match="cannot be written: Not a directory"):
        check_empty(tmp_path / "file/out")
    with pytest.raises(AdaptkitError, match="--output_dir /proc/out cannot be written"):
        check_empty("/proc/out")
    check_empty(tmp_path / "new/out")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
