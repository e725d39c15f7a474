"""LoRA of rank 64, cut down to rank 16 by `adaptkit shrink`, beside LoRA trained with rank 16.

    ADAPTKIT_DATA=... python benchmarks/shrink.py [--sets sentences intents] [--seeds 1 2 3]
        [--rank 64] [--to 16] [--train_rows 3000] [--work DIR]

Base all-MiniLM-L6-v2, `recipes/classify.py` with its defaults and every linear map. All test rows.
The variance kept is the share of the squared singular values of a map's change: the mean over the
maps, and in brackets the least. The row behind it is the same adapter at the smallest rank that
keeps 95 % at every map. What is in `--work` is not trained again.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from recipe_runs import once
from text_sets import SETS, Rows

SHARE = 0.95


def write_rows(file: Path, rows: Rows) -> Path:
    """Rows of text and label as JSON lines."""
    lines = (json.dumps({"text": text, "label": label}) + "\n" for text, label in rows)
    file.write_text("".join(lines), "utf-8")
    return file


def trained(work: Path, name: str, rank: int, rows: int, seed: int) -> Path:
    """The folder of a LoRA of this rank; trained unless it is there."""
    train, test = SETS[name]()
    train = random.Random(0).sample(train, min(rows, len(train)))
    files = {
        f"--{split}_file": str(write_rows(work / f"{name}-{split}.jsonl", part))
        for split, part in (("train", train), ("test", test))
    }
    flags = [word for pair in files.items() for word in pair]
    out = work / f"{name}-r{rank}-{seed}"
    once("classify", out, *flags, "--method", f"lora[r={rank}]", "--seed", str(seed))
    return out


def accuracy(folder: Path, file: Path) -> float:
    """The accuracy of an adapter on labelled rows."""
    from adaptkit import Predictor, read_table

    return Predictor(folder).evaluate(read_table(file))["accuracy"]


def one_seed(work: Path, given: argparse.Namespace, name: str, seed: int) -> dict[str, list]:
    """What is found with one seed: row of the table -> accuracy, kB, rank, shares kept."""
    from adaptkit import shrink

    large = trained(work, name, given.rank, given.train_rows, seed)
    small = trained(work, name, given.to, given.train_rows, seed)
    test = work / f"{name}-test.jsonl"
    found = {"trained": [accuracy(large, test), _kilobytes(large), given.rank]}
    for row, settings in (("cut", {"rank": given.to}), ("share", {"variance": SHARE})):
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "out"
            done = shrink(large, out, **settings)
            kept = done.kept.values()
            found[row] = [accuracy(out, test), _kilobytes(out), done.after]
            found[row] += [statistics.mean(kept), min(kept)]
    return found | {"small": [accuracy(small, test), _kilobytes(small), given.to]}


def _kilobytes(folder: Path) -> float:
    return (folder / "adapter_model.safetensors").stat().st_size / 1000


def _cells(runs: Iterable[list]) -> str:
    """The cells of a row: rank, accuracy, shares kept, and size, over the seeds."""
    scores, sizes, ranks, *shares = zip(*runs, strict=True)
    mean = statistics.mean(scores)
    each = " ".join(f"{score:.4f}" for score in scores)
    kept = f"{statistics.mean(shares[0]):.4f} ({min(shares[1]):.4f})" if shares else "-"
    rank = "-".join(str(one) for one in sorted({min(ranks), max(ranks)}))
    return f"{rank} | {mean:.4f} ({each}) | {kept} | {statistics.mean(sizes):,.0f} |"


def main() -> None:
    """Train what is missing, shrink it and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sets", nargs="+", choices=SETS, default=["sentences", "intents"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--rank", type=int, default=64)
    parser.add_argument("--to", type=int, default=16)
    parser.add_argument("--train_rows", type=int, default=3000)
    parser.add_argument("--work", help="folder to keep all results in (default: none)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(given.work or folder)
        work.mkdir(parents=True, exist_ok=True)
        print("| set | adapter | rank | test accuracy | variance kept (least) | kB |")
        print("|---|---|---|---|---|---|")
        rows = {"trained": "trained", "cut": "cut down", "share": f"cut down to keep {SHARE}"}
        for name in given.sets:
            seeds = [one_seed(work, given, name, seed) for seed in given.seeds]
            for row, text in (rows | {"small": "trained"}).items():
                print(f"| {name} | {text} | {_cells(one[row] for one in seeds)}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
