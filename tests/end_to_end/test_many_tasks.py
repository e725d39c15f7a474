"""Many tasks in two processes of accelerate launch."""

import json
import os
import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file

from tests.helpers.bases import without_dropout
from tests.helpers.many_tasks import FEW, run

ROOT = Path(__file__).parents[2]


def test_two_processes_train_what_one_trains(tmp_path, tasks):
    base = ["--model_name_or_path", str(without_dropout(tmp_path / "base"))]
    base += [
        "--adam_epsilon",
        "1e-5",
    ]  # where a gradient is next to nothing, its rounding is no reason for a whole step
    one = run(tasks, tmp_path / "one", *base)
    flags = [
        "--tasks",
        str(tasks),
        "--output_dir",
        str(tmp_path / "two"),
        *FEW,
        *base,
        "--per_device_train_batch_size",
        "2",
    ]
    (tmp_path / "jobs.json").write_text(json.dumps([["multitask", flags]]))
    command = [
        sys.executable,
        "-m",
        "accelerate.commands.launch",
        "--num_processes",
        "2",
        "--cpu",
        "--num_machines",
        "1",
    ]
    command += [
        "--dynamo_backend",
        "no",
        "--mixed_precision",
        "no",
        str(ROOT / "tests/launched.py"),
        str(tmp_path / "jobs.json"),
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr[-6000:]
    for name, tensors in one.items():
        two = load_file(tmp_path / f"two/{name}/adapter_model.safetensors")
        for key, tensor in tensors.items():
            assert torch.allclose(two[key], tensor, atol=2e-5), (
                name,
                key,
                (two[key] - tensor).abs().max(),
            )
