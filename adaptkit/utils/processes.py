"""Start all requested processes, and print from the main one only.

`accelerate launch --num_processes 2 script.py` on a machine without several GPUs starts one process
and leaves the others to MPI (accelerate 1.15), whether the number is on its command line or in its
configuration file. Continuing alone would train on half the batch, so the recipe starts them itself
with torchrun and prints that.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from pathlib import Path
from typing import Any

from adaptkit.errors import AdaptkitError, escaped

_PR_SET_PDEATHSIG = 1
_RANKS = ("RANK", "PMI_RANK", "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK")


def is_main() -> bool:
    """True in the process that prints and writes: the only one, or the first of several."""
    return int(os.environ.get("RANK", "0")) == 0


def wants_cpu() -> bool:
    """True if `accelerate launch --cpu` started this process."""
    return os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("true", "1")


def start_all_processes() -> None:
    """Replace this process by torchrun if accelerate started only one of several.

    Raises:
        AdaptkitError: several processes were requested, but their number is unknown, or they are
            for one GPU or for several machines.
    """
    _end_with_accelerate()
    launched = "ACCELERATE_MIXED_PRECISION" in os.environ  # accelerate sets it in what it launches,
    several = "MASTER_ADDR" in os.environ  # and this for two or more processes
    if not (launched and several) or any(name in os.environ for name in _RANKS):
        return
    count, machines = _processes_asked_for()
    if count is None or machines > 1:
        raise AdaptkitError(
            "accelerate launch started one process although more were asked for. Start them with "
            "torchrun --nproc_per_node N, on each machine, or say accelerate launch --cpu "
            "--num_processes N on the command line."
        )
    if not wants_cpu() and _has_gpu():
        raise AdaptkitError(
            f"accelerate launch started one process although {count} were asked for: this machine "
            "has one GPU. Give --num_processes 1, or --cpu to train on the processor."
        )
    print(
        f"note: accelerate launch starts one process here; starting all {count} with torchrun",
        file=sys.stderr,
        flush=True,
    )
    os.environ["ACCELERATE_USE_CPU"] = "true"
    port = os.environ.get("MASTER_PORT", "29500")
    torchrun = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc_per_node",
        str(count),
        "--master_port",
        port,
    ]
    os.execv(sys.executable, [*torchrun, *sys.argv])


def _has_gpu() -> bool:
    import torch

    return torch.accelerator.is_available()


def _processes_asked_for() -> tuple[int | None, int]:
    """How many processes on how many machines `accelerate launch`, the parent, was asked for.

    Its command line takes precedence over its configuration file.
    """
    from accelerate.commands.launch import launch_command_parser

    words = _words_of_accelerate()
    if words is None:
        return None, 1
    asked, _ = launch_command_parser().parse_known_args(words)
    file = _configuration_of(asked)
    count = asked.num_processes or getattr(file, "num_processes", None)
    return count, asked.num_machines or getattr(file, "num_machines", None) or 1


def _words_of_accelerate() -> list[str] | None:
    """The words behind `accelerate launch` if that is this process's parent."""
    import psutil

    words = psutil.Process(os.getppid()).cmdline()
    starts = [
        i
        for i, word in enumerate(words)
        if word in ("launch", "accelerate.commands.launch") or word.endswith("accelerate-launch")
    ]
    return words[starts[0] + 1 :] if starts else None


def _configuration_of(asked: Any) -> Any:
    """The configuration file that `accelerate launch` reads with these arguments, or None."""
    from accelerate.commands.config.config_args import default_config_file, load_config_from_file

    if asked.config_file is None and (asked.cpu or not Path(default_config_file).is_file()):
        return None
    return load_config_from_file(asked.config_file)


def _end_with_accelerate() -> None:
    """Receive SIGTERM when `accelerate launch` ends: it passes no signal on (Linux only)."""
    launched = "ACCELERATE_MIXED_PRECISION" in os.environ and "RANK" not in os.environ
    if sys.platform == "linux" and launched and _words_of_accelerate() is not None:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def log_main(text: str = "") -> None:
    """Print on the main process only; texts of rows may hold what a terminal would obey."""
    if is_main():
        print(escaped(text), flush=True)
