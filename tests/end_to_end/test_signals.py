"""Signals end a training with a checkpoint, and what was trained until then. Real processes."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
from contextlib import suppress
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
@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
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


@pytest.mark.slow
def test_a_launcher_that_is_ended_ends_all_its_processes_with_one_checkpoint(small, tmp_path):
    """`accelerate launch` passes no signal on, and torchrun ends the others when one has ended."""
    out = tmp_path / "out"
    launch = ["-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2"]
    launch += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    launch += ["--main_process_port", "29519"]
    words = [*launch, *command(small, out, "--num_train_epochs", "500")]
    with open(tmp_path / "said", "wb") as said:
        launcher = subprocess.Popen([sys.executable, *words], stdout=said, stderr=said, cwd=ROOT)
        wait_until(lambda: checkpoints(out), launcher)
        launcher.send_signal(signal.SIGTERM)
        assert launcher.wait() != 0
        ends = time.monotonic() + 60
        while "to go on, repeat" not in (tmp_path / "said").read_text():
            assert time.monotonic() < ends
            time.sleep(0.05)
    step = checkpoints(out)[-1]
    assert read_card(out).stopped == f"by SIGTERM at step {step} of 3000"
    assert (tmp_path / "said").read_text().count("the step ends") == 1


@pytest.mark.slow
def test_a_terminal_that_is_closed_stops_a_training_as_well(small, tmp_path):
    out, (ours, theirs) = tmp_path / "out", pty.openpty()
    script = "import fcntl, os, runpy, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    script += "sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    words = command(small, out, "--num_train_epochs", "500", "--disable_tqdm", "false")
    started = subprocess.Popen(
        [sys.executable, "-c", script, *words],
        **dict.fromkeys(("stdin", "stdout", "stderr"), theirs),
        cwd=ROOT,
        start_new_session=True,
    )
    os.close(theirs)
    os.set_blocking(ours, False)
    wait_until(lambda: _read_all(ours) or checkpoints(out), started)
    os.close(ours)  # the kernel sends SIGHUP, and what is written there is refused
    assert started.wait(60) == 128 + signal.SIGHUP
    assert read_card(out).stopped.startswith("by SIGHUP at step")


def _read_all(terminal: int) -> None:
    """Read what was printed there, as else it fills up."""
    with suppress(BlockingIOError):
        while os.read(terminal, 4096):
            pass
