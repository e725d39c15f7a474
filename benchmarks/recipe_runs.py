"""Shared by benchmarks of whole recipes: SST-2 as files, and recipes in their own process."""

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

ROOT = Path(__file__).parents[1]


def data_folder() -> Path:
    """The folder of the data sets."""
    if not (data := os.environ.get("ADAPTKIT_DATA")):
        sys.exit("ADAPTKIT_DATA is not set: it names the folder that holds data/sst2")
    return Path(data) / "data"


def write_sst2(folder: Path) -> list[str]:
    """Write the three splits as tab-separated files; returns the flags that name them."""
    from sst2 import convert

    names = {"train": "train", "validation": "dev", "test": "test"}
    for split, name in names.items():
        convert(data_folder() / "sst2" / f"stsa.binary.{name}", folder / f"{split}.tsv")
    return [word for split in names for word in (f"--{split}_file", str(folder / f"{split}.tsv"))]


def recipe(name: str, out: Path, *flags: str, metric: str = "test_accuracy") -> dict[str, float]:
    """Run a recipe from its start to its results; prints `metric` to stderr."""
    command = [
        sys.executable,
        str(ROOT / f"recipes/{name}.py"),
        *flags,
        "--output_dir",
        str(out),
        "--disable_tqdm",
        "true",
    ]
    done = subprocess.run([*command, "--overwrite_output_dir"], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stderr[-3000:]}")
    found = json.loads((out / "all_results.json").read_text())
    print(
        f"{out.name}: {metric} {found.get(metric, float('nan')):.4f}", file=sys.stderr, flush=True
    )
    return found


def once(name: str, out: Path, *flags: str, metric: str = "test_accuracy") -> dict[str, float]:
    """Run a recipe, or read its earlier results."""
    if (results := out / "all_results.json").exists():
        return json.loads(results.read_text())
    return recipe(name, out, *flags, metric=metric)


def over_seeds(values: list[float]) -> str:
    """Mean and standard deviation over the seeds, and each value."""
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    return (
        f"{statistics.mean(values):.4f} +- {spread:.4f} "
        f"({' '.join(f'{value:.4f}' for value in values)})"
    )
