"""SST-2 on all-MiniLM-L6-v2: test accuracy over seeds, parameters, file size, seconds.

    ADAPTKIT_DATA=... python benchmarks/sst2.py [--seeds 1 2 3] [--methods lora bottleneck prefix]

Runs recipes/classify.py. Reads sst2/stsa.binary.{train,dev,test} (a label and a sentence per line,
latin-1) from $ADAPTKIT_DATA/data and prints Markdown.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
RUNS = {
    "lora": ["--method", "lora[sites=attn.q|attn.v]", "--learning_rate", "2e-3"],
    "bottleneck": ["--method", "bottleneck[placement=pfeiffer]", "--learning_rate", "1e-3"],
    "prefix": ["--method", "prefix", "--learning_rate", "1e-2"],
}


def convert(source: Path, target: Path) -> None:
    """`label text` lines in latin-1 -> a TSV in UTF-8."""
    lines = source.read_text("latin-1").splitlines()
    rows = [line.split(" ", 1) for line in lines if line.strip()]
    target.write_text(
        "label\ttext\n" + "".join(f"{label}\t{text}\n" for label, text in rows), "utf-8"
    )


def main() -> None:
    """Train every method with every seed and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--methods", nargs="+", choices=RUNS, default=list(RUNS))
    given = parser.parse_args()
    data = os.environ.get("ADAPTKIT_DATA")
    if not data:
        sys.exit("ADAPTKIT_DATA is not set: it names the folder that holds data/sst2")
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        for split in ("train", "dev", "test"):
            convert(Path(data) / "data/sst2" / f"stsa.binary.{split}", work / f"{split}.tsv")
        print(
            "| method | flags | test accuracy: mean (each seed) | parameters | file, kB | "
            "seconds |\n|---|---|---|---|---|---|",
            flush=True,
        )
        for name in given.methods:
            print(_row(name, [_train(work, name, seed) for seed in given.seeds]), flush=True)


def _train(work: Path, name: str, seed: int) -> dict:
    out = work / f"{name}-{seed}"
    files = {"train_file": "train.tsv", "validation_file": "dev.tsv", "test_file": "test.tsv"}
    flags = [word for key, file in files.items() for word in (f"--{key}", str(work / file))]
    command = [
        sys.executable,
        str(ROOT / "recipes/classify.py"),
        *flags,
        *RUNS[name],
        "--seed",
        str(seed),
        "--output_dir",
        str(out),
    ]
    done = subprocess.run([*command, "--disable_tqdm", "true"], capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr[-3000:])
    return json.loads((out / "all_results.json").read_text())


def _row(name: str, results: list[dict]) -> str:
    scores = [result["test_accuracy"] for result in results]
    each = " ".join(f"{score:.4f}" for score in scores)
    seconds = statistics.mean(result["train_runtime"] for result in results)
    size, parameters = results[0]["adapter_bytes"] / 1000, results[0]["trainable_parameters"]
    flags = " ".join(RUNS[name]).replace("|", "\\|")
    return (
        f"| {name} | `{flags}` | **{statistics.mean(scores):.4f}** ({each}) | {parameters:,} | "
        f"{size:.0f} | {seconds:.0f} |"
    )


if __name__ == "__main__":
    main()
