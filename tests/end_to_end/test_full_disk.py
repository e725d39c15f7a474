"""A disk that is full while a recipe writes: one message, and what was there is still there."""

import shutil
import subprocess

import pytest

from adaptkit import load_adapter
from tests import processes
from tests.helpers.small import CLASSIFY, flags

RECIPE = str(processes.ROOT / "recipes/classify.py")


SHORT = [*CLASSIFY, "--num_train_epochs", "1", "--per_device_train_batch_size", "8"]
SHORT += ["--pooling", "native"]


@pytest.fixture(scope="module")
def whole(small, tmp_path_factory):
    """A trained adapter."""
    out = tmp_path_factory.mktemp("whole") / "out"
    processes.run(RECIPE, *flags(small, out, *SHORT, "--save_strategy", "no"))
    return out


@pytest.mark.slow
@pytest.mark.parametrize("size, what", [("700k", "checkpoint-6"), ("350k", "")])
def test_a_recipe_on_a_full_disk(small, whole, tmp_path, size, what):
    """The checkpoint does not fit, or without checkpoints the adapter beside the old one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", disk]).returncode:
        pytest.skip("mount -t tmpfs is not permitted here: it takes root, or CAP_SYS_ADMIN")
    try:
        names = ("adapter_model.safetensors", "adapter_config.json", "task.json")
        before = {name: (whole / name).read_bytes() for name in names}
        for name in names:
            shutil.copy(whole / name, disk)
        (disk / "mine.txt").write_text("mine")
        saved = ["--save_strategy", "epoch" if what else "no", "--overwrite_output_dir"]
        done = processes.run(RECIPE, *flags(small, disk, *SHORT, *saved), code=2)
        message = done.stderr[done.stderr.index("error: ") :]
        assert f"{what} cannot be written: the disk " in message
        assert len(message.splitlines()) == 1
        assert {name: (disk / name).read_bytes() for name in names} == before
        assert (disk / "mine.txt").read_text() == "mine"
        assert not list(disk.glob("checkpoint-*"))
        assert not list(disk.glob(".adaptkit*"))
        load_adapter(disk)
    finally:
        subprocess.run(["umount", "-l", disk], check=True)
