"""Signals end a training with a checkpoint, and what was trained until then. Real processes."""

import json
import os
import signal
import time
from pathlib import Path

import pytest
import torch

from adaptkit import load_adapter, read_card
from adaptkit.training.fastest_attention import earlier_choice
from tests import processes
from tests.helpers.small import CLASSIFY, flags, weights

ROOT = Path(__file__).parents[2]
EPOCHS = [
    "--num_train_epochs",
    "8",
    "--per_device_train_batch_size",
    "4",
    "--eval_strategy",
    "epoch",
]
EPOCHS += ["--method", "lora[dropout=0.1]"]


def command(small: Path, out: Path, *more: str) -> list[str]:
    return [str(ROOT / "recipes/classify.py"), *flags(small, out, *CLASSIFY, *EPOCHS, *more)]


def wait_until(ready, process, seconds: float = 120) -> None:
    ends = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < ends
        assert process.process.is_alive() if hasattr(process, "process") else not process.poll()
        time.sleep(0.01)


def checkpoints(out: Path) -> list[int]:
    return sorted(
        int(path.parent.name[11:]) for path in out.glob("checkpoint-*/trainer_state.json")
    )


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_ends_with_a_checkpoint_and_an_adapter_and_resumes_to_the_same_weights(
    small, tmp_path, sent
):
    out = tmp_path / "stopped"
    process = processes.start(*command(small, out))
    wait_until(lambda: checkpoints(out), process)
    os.kill(process.process.pid, sent)
    done = process.wait()
    assert done.returncode == 128 + sent, done.stderr[-2000:]
    assert f"{sent.name}: the step ends" in done.stderr
    assert "--resume_from_checkpoint true" in done.stdout.splitlines()[-1]
    card, step = read_card(out), checkpoints(out)[-1]
    assert card.stopped == f"by {sent.name} at step {step} of 96"
    assert f"stopped by {sent.name} at step {step} of 96" in (out / "README.md").read_text()
    assert json.loads((out / "all_results.json").read_text())["train_runtime"] > 0
    assert "training 0.0 s" not in " ".join(done.stdout.split())
    load_adapter(out)
    for key, tensor in weights(out).items():  # the adapter is that of the checkpoint
        assert torch.isfinite(tensor).all(), key
    if sent != signal.SIGTERM:
        return
    processes.run(*command(small, out, "--resume_from_checkpoint", "true"))
    attention = earlier_choice(out).name
    processes.run(*command(small, tmp_path / "whole", "--attn_implementation", attention))
    assert read_card(out).stopped is None
    one, two = weights(tmp_path / "whole"), weights(out)
    assert all(torch.equal(two[key], tensor) for key, tensor in one.items())
