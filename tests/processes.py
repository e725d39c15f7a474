"""Processes that begin with the libraries imported: forked from one that has done nothing else.

They are real processes: with their own arguments and exit code, and what they print in files.
Importing takes most of the time of a short process.
"""

import multiprocessing
import os
import runpy
import signal
import sys
import tempfile
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from subprocess import CompletedProcess

import torch

ROOT = Path(__file__).parents[1]
IMPORTED = [
    "adaptkit.recipes.classify",
    "adaptkit.recipe.dry_run",
    "adaptkit.training.fit",
    "adaptkit.host",
    "transformers.trainer",
]
CONTEXT = multiprocessing.get_context(
    "spawn" if torch.cuda.is_available() else "forkserver"
)  # a fork has no GPU
if not torch.cuda.is_available():
    CONTEXT.set_forkserver_preload(IMPORTED)


def _python(words: list[str], stdout: str, stderr: str, threads: int) -> None:
    """What `python words` does, in the forked process."""
    for number, file in ((1, stdout), (2, stderr)):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT), number)
    torch.set_num_threads(threads)
    sys.path.insert(0, str(ROOT / "recipes"))
    if words[0] == "-m":
        sys.argv = words[1:]
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = words
        runpy.run_path(words[0], run_name="__main__")


@dataclass
class Started:
    """A process that was started."""

    process: BaseProcess
    folder: tempfile.TemporaryDirectory

    @property
    def stdout(self) -> str:
        """What it has printed until now."""
        return self._read("stdout")

    @property
    def stderr(self) -> str:
        """What it has printed there until now."""
        return self._read("stderr")

    def _read(self, name: str) -> str:
        return (Path(self.folder.name) / name).read_text("utf-8")

    def wait(self) -> CompletedProcess:
        """Its exit code and what it printed, once it is over."""
        self.process.join()
        return CompletedProcess([], self.process.exitcode, self.stdout, self.stderr)

    def kill(self) -> None:
        """SIGKILL."""
        os.kill(self.process.pid, signal.SIGKILL)


def start(*words: str) -> Started:
    """`python words`, not waited for."""
    folder = tempfile.TemporaryDirectory()
    files = [str(Path(folder.name) / name) for name in ("stdout", "stderr")]
    for file in files:
        Path(file).touch()
    process = CONTEXT.Process(
        target=_python, args=([str(word) for word in words], *files, torch.get_num_threads())
    )
    process.start()
    return Started(process, folder)


def run(*words: str, code: int = 0) -> CompletedProcess:
    """`python words`, to its end; it must exit with this code and without a traceback."""
    done = start(*words).wait()
    assert done.returncode == code, done.stderr[-3000:]
    assert "Traceback" not in done.stderr
    return done
