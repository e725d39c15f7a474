"""Start all requested processes, and print from the main one only.

`accelerate launch --cpu --num_processes 2 script.py` starts one process and leaves the others to
MPI (accelerate 1.15). Continuing alone would train something other than the user requested, so the
recipe starts them itself with torchrun and prints that.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

from adaptkit.errors import AdaptkitError

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
        AdaptkitError: several processes were requested, but their number is unknown.
    """
    _end_with_accelerate()
    several = "MASTER_ADDR" in os.environ  # accelerate sets it for two or more processes
    if not (wants_cpu() and several) or any(name in os.environ for name in _RANKS):
        return
    count = _processes_asked_for()
    if count is None:
        raise AdaptkitError(
            "accelerate launch started one process although more were asked for. Start them with "
            "torchrun --nproc_per_node N, or say accelerate launch --cpu --num_processes N on "
            "the command line."
        )
    print(
        f"note: accelerate launch --cpu starts one process; starting all {count} with torchrun",
        file=sys.stderr,
        flush=True,
    )
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


def _processes_asked_for() -> int | None:
    """`--num_processes` on the command line of `accelerate launch`, this process's parent."""
    from accelerate.commands.launch import launch_command_parser

    words = _words_of_accelerate()
    if words is None:
        return None
    asked, _ = launch_command_parser().parse_known_args(words)
    return asked.num_processes


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


def _end_with_accelerate() -> None:
    """Receive SIGTERM when `accelerate launch` ends: it passes no signal on (Linux only)."""
    launched = "ACCELERATE_MIXED_PRECISION" in os.environ and "RANK" not in os.environ
    if sys.platform == "linux" and launched and _words_of_accelerate() is not None:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def log_main(text: str = "") -> None:
    """Print on the main process only."""
    if is_main():
        print(text, flush=True)
