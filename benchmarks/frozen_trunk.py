"""Training with and without the activation cache, and the accuracy of training fewer layers.

    ADAPTKIT_DATA=... python benchmarks/frozen_trunk.py [--rows 6920] [--epochs 10] [--seeds 1 2 3]
        [--search 8]

SST-2, frozen MiniLM: `recipes/classify.py --frozen_trunk off` and `auto` in turns, each in its own
process, including the first pass over the texts. Seconds of training are train_runtime, with the
evaluation of 872 rows after each epoch. With --search, instead: the seconds of this many trials of
three epochs, from the first trial's start to the last one's end.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
LORA, BOTTLENECK = "lora[sites=attn.q|attn.v{}]", "bottleneck[placement=pfeiffer{}]"
CASES = {
    "lora": ("3e-3", [LORA, ",layers=last[3]", ",layers=last[1]"]),
    "bottleneck": ("1e-3", [BOTTLENECK, ",layers=last[3]", ",layers=last[1]"]),
}


def train(folder: Path, method: str, rate: str, trunk: str, seed: int, *more: str) -> dict:
    """One run of the recipe: its results, and the seconds between the lines of a search."""
    out = folder / "out"
    files = [
        word
        for split in ("train", "validation", "test")
        for word in (f"--{split}_file", str(folder / f"{split}.tsv"))
    ]
    flags = [
        "--method",
        method,
        "--learning_rate",
        rate,
        "--frozen_trunk",
        trunk,
        "--seed",
        str(seed),
        "--disable_tqdm",
        "true",
    ]
    command = [
        sys.executable,
        "-u",
        str(ROOT / "recipes/classify.py"),
        *files,
        *flags,
        "--output_dir",
        str(out),
        *more,
    ]
    process = subprocess.Popen(
        [*command, "--overwrite_output_dir"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ,
    )
    assert process.stdout
    began = ended = 0.0
    for line in process.stdout:
        if line.startswith("training ") and not began:
            began = time.perf_counter()
        if line.startswith("best of "):
            ended = time.perf_counter()
    errors = process.communicate()[1]
    if process.returncode:
        sys.exit(errors[-3000:])
    return json.loads((out / "all_results.json").read_text()) | {"search": ended - began}


def lines(folder: Path, kind: str, given: argparse.Namespace):
    """The lines of one method: all layers, then the upper ones, each without and with the cache."""
    rate, (method, *uppers) = CASES[kind]
    epochs = ("--num_train_epochs", str(given.epochs))
    runs = [train(folder, method.format(""), rate, "off", seed, *epochs) for seed in given.seeds]
    yield _line(method.format(""), "-", runs, None)
    for upper in uppers:
        both: dict[str, list[dict]] = {"off": [], "auto": []}
        for seed in given.seeds:
            for trunk, found in both.items():
                found.append(train(folder, method.format(upper), rate, trunk, seed, *epochs))
        yield _line(method.format(upper), "off", both["off"], None)
        yield _line(method.format(upper), "on", both["auto"], both["off"])


def _line(method: str, trunk: str, runs: list[dict], off: list[dict] | None) -> str:
    seconds = statistics.median(run["train_runtime"] for run in runs)
    faster = (
        f"{statistics.median(run['train_runtime'] for run in off) / seconds:.2f}" if off else "-"
    )
    each = " ".join(f"{run['test_accuracy']:.4f}" for run in runs)
    size = f"{runs[0]['trunk_gb']:.2f}" if "trunk_gb" in runs[0] else "-"
    mean = statistics.mean(run["test_accuracy"] for run in runs)
    name = method.replace("q|a", "q\\|a")
    return f"| `{name}` | {trunk} | {seconds:.0f} | {faster} | {mean:.4f} ({each}) | {size} |"


def searches(folder: Path, given: argparse.Namespace):
    """One line per method: a search over the last layer without and with the cache."""
    for kind in given.methods:
        rate, (method, *_, upper) = CASES[kind]
        more = ("--search", str(given.search), "--num_train_epochs", "3")
        both: dict[str, list[dict]] = {"off": [], "auto": []}
        for seed in given.seeds:
            for trunk, found in both.items():
                found.append(train(folder, method.format(upper), rate, trunk, seed, *more))
        off, on = (statistics.median(run["search"] for run in found) for found in both.values())
        each = " ".join(
            f"{one['search'] / other['search']:.2f}"
            for one, other in zip(*both.values(), strict=True)
        )
        scores = " | ".join(
            " ".join(f"{run['eval_accuracy']:.4f}" for run in found) for found in both.values()
        )
        name = method.format(upper).replace("q|a", "q\\|a")
        yield f"| `{name}` | {off:.0f} | {on:.0f} | {off / on:.2f} ({each}) | {scores} |"


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--methods", nargs="+", default=list(CASES), choices=CASES)
    parser.add_argument("--rows", type=int, default=6920)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--search", type=int, default=0)
    given = parser.parse_args()
    if not (data := os.environ.get("ADAPTKIT_DATA")):
        sys.exit("ADAPTKIT_DATA is not set: it names the folder that holds data/sst2")
    from sst2 import convert

    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        for split, name in (("train", "train"), ("validation", "dev"), ("test", "test")):
            convert(Path(data) / "data/sst2" / f"stsa.binary.{name}", folder / f"{split}.tsv")
        texts = (folder / "train.tsv").read_text().splitlines(keepends=True)
        (folder / "train.tsv").write_text("".join(texts[: given.rows + 1]))
        if given.search:
            print(
                "| method | without, s | with, s | faster (each seed) | validation accuracy "
                "without | with |"
            )
            print("|---|---|---|---|---|---|", flush=True)
            for line in searches(folder, given):
                print(line, flush=True)
            return
        print(
            "| method | trunk | training, s | faster | test accuracy: mean (each seed) | kept, "
            "GB |\n|---|---|---|---|---|---|"
        )
        for kind in given.methods:
            for line in lines(folder, kind, given):
                print(line, flush=True)


if __name__ == "__main__":
    main()
