"""Output folders are tried before hours of work."""

import os
import subprocess

import pytest

from adaptkit.errors import AdaptkitError
from adaptkit.utils.atomic_files import COMMIT, NEW
from adaptkit.utils.output_folder import check_empty, check_writable


def test_an_output_folder_that_cannot_be_written_is_refused_at_once(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(AdaptkitError, match="cannot be written: Not a directory"):
        check_empty(tmp_path / "file/out")
    with pytest.raises(AdaptkitError, match="is a file"):
        check_writable(tmp_path / "file")
    with pytest.raises(AdaptkitError, match="--output_dir /proc/out cannot be written"):
        check_empty("/proc/out")
    with pytest.raises(AdaptkitError, match="cannot be written: File name too long"):
        check_empty(tmp_path / ("x" * 300))
    check_empty(tmp_path / "new/out")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_what_a_killed_run_left_is_no_content_and_what_it_committed_is(tmp_path):
    (tmp_path / "lost+found").mkdir()
    (tmp_path / f"{NEW}dead/files").mkdir(parents=True)
    check_empty(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["lost+found"]
    (tmp_path / COMMIT).mkdir()
    (tmp_path / COMMIT / "task.json").write_text("{}")
    with pytest.raises(AdaptkitError, match="is not empty"):
        check_empty(tmp_path)
    assert (tmp_path / "task.json").read_text() == "{}"


def test_a_link_to_a_missing_folder_leads_to_a_new_one(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "disk/runs")
    check_writable(tmp_path / "link")
    assert (tmp_path / "disk/runs").is_dir()


def test_a_folder_without_permission_is_refused(tmp_path):
    (tmp_path / "closed").mkdir(mode=0o555)
    if os.geteuid():
        with pytest.raises(AdaptkitError, match="cannot be written: Permission denied"):
            check_empty(tmp_path / "closed/out")
        return
    # root may write everywhere; what cannot be changed is closed to it as well
    marked = subprocess.run(["chattr", "+i", str(tmp_path / "closed")], capture_output=True)
    if marked.returncode:
        pytest.skip("root may write everywhere, and chattr +i is not supported here")
    try:
        with pytest.raises(AdaptkitError, match="cannot be written: Operation not permitted"):
            check_empty(tmp_path / "closed/out")
    finally:
        subprocess.run(["chattr", "-i", str(tmp_path / "closed")], check=True)
