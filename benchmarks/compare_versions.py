"""This version beside another one: steps of training, and batches of a host with 32 adapters.

    python benchmarks/compare_versions.py --other ../adaptkit-0.1 [--rounds 7] [--threads 1]

Each version runs in a process of its own, which waits while the other one works. They take turns,
and the medians and the ratio of each pair of turns are printed. Only public names are used that
both versions have, over MiniLM and the embedded corpus.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
CASES = ("import", "train lora", "train bottleneck", "host 16", "host 128")
STEPS, ROWS, ADAPTERS = 25, 32, 32


def worker() -> None:
    """Answer each line of standard input, the name of a case, with its seconds."""
    print("ready", flush=True)
    cases = Cases()
    for line in sys.stdin:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            seconds = cases.run(line.strip())
        print(seconds, flush=True)


class Cases:
    """What is timed, in one version."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.host = None

    def run(self, name: str) -> float:
        kind, _, what = name.partition(" ")
        if kind == "import":
            began = time.perf_counter()
            subprocess.run([sys.executable, "-c", "import adaptkit"], check=True)
            return time.perf_counter() - began
        return self._train(what) if kind == "train" else self._serve(int(what))

    def _train(self, method: str) -> float:
        """Seconds of some steps, without imports and evaluation."""
        recipe = importlib.import_module("adaptkit.recipes.classify")
        folder = self.folder / method
        flags = f"--max_steps {STEPS} --per_device_train_batch_size {ROWS} --eval_strategy no"
        flags += f" --save_strategy no --method {method} --max_seq_length 64 --disable_tqdm true"
        flags += " --attn_implementation sdpa"  # or each version measures and may choose otherwise
        recipe.main([*flags.split(), "--output_dir", str(folder), "--overwrite_output_dir"])
        return json.loads((folder / "all_results.json").read_text())["train_runtime"]

    def _serve(self, tokens: int) -> float:
        """Seconds of some batches of rows with another adapter each."""
        if self.host is None:
            self.host = self._make_host()
        texts, names = ["word " * (tokens - 2)] * ROWS, [f"a{i}" for i in range(ADAPTERS)]
        self.host(texts, names)
        began = time.perf_counter()
        for _ in range(200 // tokens + 2):
            self.host(texts, names)
        return time.perf_counter() - began

    def _make_host(self):
        import torch

        import adaptkit

        base = adaptkit.load_base("all-MiniLM-L6-v2", task="classify", labels=["a", "b", "c"])
        model = adaptkit.adapt(base, "lora[r=8]")
        torch.manual_seed(0)
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data.normal_(std=0.05)
        card = adaptkit.TaskCard(task="classify", labels=["a", "b", "c"], max_length=128)
        for i in range(ADAPTERS):
            adaptkit.save_adapter(model, self.folder / f"store/a{i}", card=card)
        return adaptkit.Host.from_store(self.folder / "store", slots=ADAPTERS)


class Version:
    """A process that works in one version."""

    def __init__(self, root: Path, threads: int):
        package = str(_with_recipes(root))
        environment = os.environ | {"PYTHONPATH": package, "OMP_NUM_THREADS": str(threads)}
        environment |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
        # glibc maps and unmaps large tensors in some processes and reuses memory in others: page
        # faults then differ by a factor of 100 between two runs of one version.
        environment |= {"MALLOC_MMAP_THRESHOLD_": str(1 << 30)}
        environment |= {"MALLOC_TRIM_THRESHOLD_": str(1 << 32)}
        words = [sys.executable, __file__, "--worker"]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen(words, env=environment, text=True, **pipes)
        assert self.process.stdout.readline().strip() == "ready"

    def run(self, case: str) -> float:
        self.process.stdin.write(f"{case}\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())


def _with_recipes(root: Path) -> Path:
    """A folder that holds the package with `adaptkit.recipes` in it, as an installed one does."""
    folder = Path(tempfile.mkdtemp())
    (folder / "adaptkit").mkdir()
    for path in (root.absolute() / "adaptkit").iterdir():
        (folder / "adaptkit" / path.name).symlink_to(path)
    (folder / "adaptkit/recipes").unlink(missing_ok=True)
    (folder / "adaptkit/recipes").symlink_to(root.absolute() / "recipes")
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--other", help="a checkout of another version")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--cases", nargs="+", default=CASES)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        return worker()
    versions = [Version(Path(given.other), given.threads), Version(ROOT, given.threads)]
    print(
        f"| case ({given.threads} threads, {given.rounds} rounds) | other | this | this / other |"
    )
    print("|---|---|---|---|")
    for case in given.cases:
        for version in versions:
            version.run(case)
        pairs = []
        for turn in range(given.rounds):
            order = versions if turn % 2 else versions[::-1]
            times = {version: version.run(case) for version in order}
            pairs.append([times[version] for version in versions])
        other, this = (statistics.median(column) for column in zip(*pairs, strict=True))
        ratio = statistics.median(two / one for one, two in pairs)
        print(f"| {case} | {other:.3f} s | {this:.3f} s | **{ratio:.3f}** |", flush=True)


if __name__ == "__main__":
    main()
