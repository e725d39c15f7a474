"""One message for every way in which writing fails, and what was there stays."""

import errno
import gc
import os
import resource
import shutil
import subprocess
from contextlib import contextmanager, suppress

import pytest
import torch
from safetensors.torch import save_file

from adaptkit.errors import AdaptkitError
from adaptkit.training.activation_cache import ActivationCache
from adaptkit.training.checkpoints import new_checkpoint
from adaptkit.utils.atomic_files import new_file, new_version
from adaptkit.utils.output_folder import check_writable
from adaptkit.utils.writing import writing


@pytest.fixture(scope="module")
def full_disk(tmp_path_factory):
    """A disk of 256 kB, of which most is used."""
    folder = tmp_path_factory.mktemp("disk")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(folder)]).returncode:
        pytest.skip("mount -t tmpfs is not permitted here: it takes root, or CAP_SYS_ADMIN")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture(autouse=True)
def _nothing_open():
    """A write that failed leaves a file open for as long as its error is known: it takes room."""
    yield
    gc.collect()


@contextmanager
def files_up_to(size: int):
    """No file may grow beyond this size: needs no permission."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def plain(path):
    path.write_bytes(bytes(1 << 20))


def by_safetensors(path):
    save_file({"x": torch.ones(1 << 18)}, path)


def by_torch(path):
    torch.save({"x": torch.ones(1 << 18)}, path)


WRITERS = [plain, by_safetensors, by_torch]


@contextmanager
def checkpoint(folder):
    with new_checkpoint(folder, main=True):
        folder.mkdir()
        yield folder


def fill(manager, target, write):
    with manager(target) as new:
        write(new / "weights" if new.is_dir() else new)


def tries(folder, write):
    """Write more than fits, in every way; the old contents stay and nothing is left over."""
    (folder / "d").mkdir(exist_ok=True)
    (folder / "d/weights").write_text("old")
    before = {path.name for path in folder.iterdir()}
    for manager, target in ((new_file, "d/weights"), (new_version, "d")):
        with pytest.raises(AdaptkitError, match="cannot be written: .* is still there") as refused:
            fill(manager, folder / target, write)
        assert len(str(refused.value).splitlines()) == 1
    with pytest.raises(AdaptkitError, match="checkpoint-1 cannot be written"):
        fill(checkpoint, folder / "checkpoint-1", write)
    assert {path.name for path in folder.iterdir()} == before
    assert (folder / "d/weights").read_text() == "old"
    assert [path.name for path in (folder / "d").iterdir()] == ["weights"]


@pytest.mark.parametrize("write", WRITERS)
def test_a_full_disk(full_disk, write):
    tries(full_disk, write)


@pytest.mark.parametrize("write", WRITERS)
def test_a_limit_on_the_size_of_files(tmp_path, write):
    with files_up_to(1 << 16):
        tries(tmp_path, write)


def test_the_cache_on_a_full_disk_says_so_and_does_not_end_the_process(full_disk, tmp_path):
    states = torch.ones(64, 128)
    with pytest.raises(AdaptkitError, match="the disk is full.* --frozen_trunk memory"):
        ActivationCache(full_disk / "run").put(b"1", states)
    with files_up_to(1 << 16), pytest.raises(AdaptkitError, match="larger than is allowed"):
        ActivationCache(tmp_path / "run").put(b"1", states)
    assert list((full_disk / "run").iterdir()) == []


def test_a_full_disk_is_found_before_training(full_disk):
    with open(full_disk / "filler", "wb", buffering=0) as filler, suppress(OSError):
        while True:
            filler.write(bytes(1 << 12))
    with pytest.raises(AdaptkitError, match="--output_dir .* cannot be written: the disk is full"):
        check_writable(full_disk)
    (full_disk / "filler").unlink()


def test_a_disk_that_is_read_only(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "none", str(folder)]).returncode:
        pytest.skip("mount -t tmpfs is not permitted here: it takes root, or CAP_SYS_ADMIN")
    try:
        with pytest.raises(AdaptkitError, match="cannot be written: the disk is read-only"):
            check_writable(folder / "out")
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_mount_point_is_an_output_folder_like_any_other(full_disk):
    (full_disk / "mine").write_text("mine")
    check_writable(full_disk)
    for content in ("old", "new"):
        with new_version(full_disk) as new:
            (new / "weights").write_text(content)
    assert (full_disk / "weights").read_text() == "new"
    assert (full_disk / "mine").read_text() == "mine"
    assert os.path.ismount(full_disk)


def test_a_folder_that_is_deleted_meanwhile(tmp_path):
    def deleted(path):
        path.write_text("x")
        shutil.rmtree(tmp_path / "d")

    with pytest.raises(AdaptkitError, match="its folder was deleted meanwhile"):
        fill(new_version, tmp_path / "d", deleted)


def test_other_errors_stay_what_they_are(tmp_path):
    with pytest.raises(ZeroDivisionError), writing(tmp_path):
        _ = 1 / 0
    with pytest.raises(RuntimeError, match="expected scalar type"), writing(tmp_path):
        raise RuntimeError("expected scalar type Float but found Half")
    with pytest.raises(AdaptkitError, match="x cannot be written: your quota"), writing("x"):
        raise OSError(errno.EDQUOT, "quota")
