"""Call something in a process of its own, and measure how it ended: in what time, with what memory.

The process is a fork, so what is imported and built before is there at once.
"""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from adaptkit.errors import AdaptkitError

MOST_SECONDS, MOST_MEGABYTES, LONGEST_MESSAGE = 5, 500, 3000
PATIENCE = 20  # seconds of waiting, as other processes may need the processor too
ADDRESS_SPACE = 8 << 30  # bytes more than it has: it ends with MemoryError before the machine does


@dataclass(frozen=True)
class Outcome:
    """How a call ended.

    `kind`: "done", "refused" (by an AdaptkitError), "raised" (any other exception), "died" or
    "hung". `seconds` of processor time, `megabytes` above what it began with.
    """

    kind: str
    text: str = ""
    seconds: float = 0.0
    megabytes: float = 0.0

    @property
    def problem(self) -> str | None:
        """What is wrong with it, or None: done and refused are both right, within the limits."""
        if self.kind not in ("done", "refused"):
            return f"{self.kind}: {self.text[-1500:]}"
        if self.seconds > MOST_SECONDS:
            return f"took {self.seconds:.1f} s"
        if self.megabytes > MOST_MEGABYTES:
            return f"took {self.megabytes:.0f} MB"
        if self.kind == "refused" and len(self.text) > LONGEST_MESSAGE:
            return f"a message of {len(self.text)} characters: {self.text[:200]}"
        return None


def bounded(call: Callable[[], object], patience: float = PATIENCE) -> Outcome:
    """Run `call` in a fork, and wait for its end at most `patience` seconds."""
    read, write = os.pipe()
    process = os.fork()
    if not process:
        os.close(read)
        _in_child(call, write)
    os.close(write)
    try:
        return _await(process, read, patience)
    finally:
        os.close(read)


def _await(process: int, pipe: int, patience: float) -> Outcome:
    content, until = b"", time.monotonic() + patience
    while select.select([pipe], [], [], max(until - time.monotonic(), 0))[0]:
        if not (chunk := os.read(pipe, 1 << 16)):
            _, status = os.waitpid(process, 0)
            if not content:
                return Outcome("died", f"exit status {status}")
            return Outcome(**json.loads(content))
        content += chunk
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return Outcome("hung", f"not over after {patience} s")


def _in_child(call: Callable[[], object], pipe: int) -> None:
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nowhere, number)
    used = _status("VmSize") << 10
    resource.setrlimit(resource.RLIMIT_AS, (used + ADDRESS_SPACE, resource.RLIM_INFINITY))
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak until now
    memory, began = _status("VmRSS"), time.process_time()
    try:
        kind, text = "done", str(call() or "")
    except AdaptkitError as problem:
        kind, text = "refused", str(problem)
    except BaseException:
        kind, text = "raised", traceback.format_exc()
    seconds, more = time.process_time() - began, (_status("VmHWM") - memory) / 1024
    content = json.dumps(asdict(Outcome(kind, text[-20000:], seconds, more)))
    os.write(pipe, content.encode())
    os._exit(0)


def _status(name: str) -> int:
    """A number of kB from the kernel's account of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))
