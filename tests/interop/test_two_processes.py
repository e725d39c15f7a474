"""Two real processes: sharded, under transformers' Trainer, and by `accelerate launch`."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.interop import in_two
from tests.processes import start

HERE = Path(__file__).parent


def both(what: str, folder: Path) -> list[float]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    script = str(HERE / "in_two.py")
    processes = [start(script, what, str(rank), port, str(folder)) for rank in range(2)]
    for process in processes:
        done = process.wait()
        assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((folder / "found.json").read_text())


def test_fully_shard(tmp_path):
    """The same losses, step by step, as one process with the whole batch."""
    torch.manual_seed(0)
    alone = in_two.steps(in_two.adapted(), in_two.batch())
    assert both("shard", tmp_path) == pytest.approx(alone, abs=1e-4)
    assert alone[-1] < alone[0]


def test_losses_and_gradients_of_plain_trainer(tmp_path):
    """Neither two processes nor two accumulated batches make them twice as high."""
    torch.manual_seed(0)
    alone = in_two.plain_trainer(tmp_path, 8)
    assert in_two.plain_trainer(tmp_path, 4, accumulated=2) == pytest.approx(alone, rel=1e-3)
    assert both("trainer", tmp_path) == pytest.approx(alone, rel=1e-3)


CONFIG = """compute_environment: LOCAL_MACHINE
distributed_type: MULTI_CPU
machine_rank: 0
main_training_function: main
mixed_precision: 'no'
num_machines: 1
num_processes: 2
use_cpu: true
main_process_ip: 127.0.0.1
main_process_port: 29561
"""


def launch(*words: str) -> subprocess.CompletedProcess:
    """`accelerate launch`, which must see no configuration of the user's."""
    command = [sys.executable, "-m", "accelerate.commands.launch", *words]
    environment = os.environ | {"HF_HOME": "/nowhere", "CUDA_VISIBLE_DEVICES": ""}
    environment["PYTHONPATH"] = str(HERE.parents[1])
    return subprocess.run(command, capture_output=True, text=True, env=environment)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["without --cpu", "configuration file"])
def test_accelerate_launch_starts_all_processes(how, tmp_path):
    words = ["--num_processes", "2", "--main_process_port", "29562"]
    if how == "configuration file":
        (tmp_path / "cpu.yaml").write_text(CONFIG)
        words = ["--config_file", str(tmp_path / "cpu.yaml")]
    (tmp_path / "out").mkdir()
    done = launch(*words, str(HERE / "started.py"), str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr[-2000:]
    assert "starting all 2 with torchrun" in done.stderr
    found = {file.name: file.read_text() for file in (tmp_path / "out").iterdir()}
    assert found == {"0": "2 true", "1": "2 true"}


@pytest.mark.slow
def test_two_processes_on_one_gpu_are_refused(tmp_path):
    done = launch("--num_processes", "2", str(HERE / "started.py"), str(tmp_path), "a GPU")
    assert done.returncode != 0
    reason = "this machine has one GPU. Give --num_processes 1, or --cpu"
    assert f"although 2 were asked for: {reason}" in done.stderr
