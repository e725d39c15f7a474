"""Intents never seen in training: a trained `decide` beside the frozen base.

    ADAPTKIT_DATA=... python benchmarks/decide.py [--unseen random domains] [--seeds 1 2 3]
        [--work DIR] [flags of the recipe]

CLINC150 with all-MiniLM-L6-v2. 30 intents are left out of training (12,000 rows of the other 120,
whose options are these 120): drawn at random with each seed, or those of the domains travel, and
kitchen and dining. Tested are the 900 rows of the 30, with all 150 intents as options.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from pathlib import Path

from recipe_runs import data_folder, once, over_seeds
from text_sets import Rows, intents

UNSEEN = 30
DOMAINS = ("travel", "kitchen_and_dining")


def write(file: Path, rows: Rows, options: list[str] | None = None) -> str:
    """Write rows as JSON lines, with options if there are any; returns the file's name."""
    more = {"options": options} if options else {}
    lines = (json.dumps({"text": text, "label": label} | more) + "\n" for text, label in rows)
    file.write_text("".join(lines), "utf-8")
    return str(file)


def unseen_intents(how: str, every: list[str], seed: int) -> set[str]:
    """The intents to leave out of training."""
    if how == "random":
        return set(random.Random(seed).sample(every, UNSEEN))
    domains = json.loads((data_folder() / "clinc150/domains.json").read_text("utf-8"))
    return {intent for domain in DOMAINS for intent in domains[domain]}


def one_run(work: Path, how: str, seed: int, flags: list[str]) -> dict[str, float]:
    """Train with one seed; what is there already is read."""
    train, test = intents()
    every = sorted({label for _, label in train})
    unseen = unseen_intents(how, every, seed)
    folder = work / f"{how}-{seed}"
    folder.mkdir(exist_ok=True, parents=True)
    words = ["--train_file", write(folder / "train.jsonl", _of(train, set(every) - unseen))]
    words += ["--test_file", write(folder / "test.jsonl", _of(test, unseen), every)]
    return once("decide", folder / "out", *words, "--seed", str(seed), *flags)


def main() -> None:
    """Train with each seed and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    ways = ["random", "domains"]
    parser.add_argument("--unseen", nargs="+", choices=ways, default=ways)
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--work")
    given, flags = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as work:
        print("| 30 intents never seen, among 150 | frozen base | trained on the other 120 |")
        print("|---|---|---|")
        for how in given.unseen:
            runs = [one_run(Path(given.work or work), how, seed, flags) for seed in given.seeds]
            scores = (
                over_seeds([run[f"test_{name}"] for run in runs])
                for name in ("base_accuracy", "accuracy")
            )
            print(f"| {how} | {' | '.join(scores)} |", flush=True)


def _of(rows: Rows, labels: set[str]) -> Rows:
    return [row for row in rows if row[1] in labels]


if __name__ == "__main__":
    main()
