"""Intents never seen in training: a trained `decide` beside the frozen base.

    ADAPTKIT_DATA=... python benchmarks/decide.py [--seeds 1 2 3] [--work DIR] [flags of the recipe]

CLINC150 with all-MiniLM-L6-v2. The 30 intents of the domains travel, and kitchen and dining, are
left out of training (12,000 rows of the other 120, options are these 120). Tested are the 900 rows
of the 30 and the 3,600 of the others, each with all 150 intents as options.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from recipe_runs import data_folder, once, over_seeds
from text_sets import Rows, intents

HELD_OUT = ("travel", "kitchen_and_dining")


def write(file: Path, rows: Rows, options: list[str] | None = None) -> str:
    """Write rows as JSON lines, with options if there are any; returns the file's name."""
    more = {"options": options} if options else {}
    lines = (json.dumps({"text": text, "label": label} | more) + "\n" for text, label in rows)
    file.write_text("".join(lines), "utf-8")
    return str(file)


def main() -> None:
    """Train with each seed and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--work")
    given, flags = parser.parse_known_args()
    domains = json.loads((data_folder() / "clinc150/domains.json").read_text("utf-8"))
    unseen = {intent for domain in HELD_OUT for intent in domains[domain]}
    train, test = intents()
    every = sorted({label for _, label in train})
    with tempfile.TemporaryDirectory() as work:
        folder = Path(given.work or work)
        folder.mkdir(exist_ok=True, parents=True)
        files = ["--train_file", write(folder / "train.jsonl", _of(train, set(every) - unseen))]
        tests = {
            name: write(folder / f"{name}.jsonl", _of(test, labels), every)
            for name, labels in (("unseen", unseen), ("seen", set(every) - unseen))
        }
        runs = []
        for seed in given.seeds:
            words = [*files, "--test_file", tests["unseen"], "--seed", str(seed), *flags]
            runs.append(once("decide", folder / f"out-{seed}", *words))
        print("| intents never seen, among 150 | accuracy |\n|---|---|")
        print(f"| frozen base | {runs[0]['test_base_accuracy']:.4f} |")
        print(f"| trained on the other 120 | {over_seeds([r['test_accuracy'] for r in runs])} |")


def _of(rows: Rows, labels: set[str]) -> Rows:
    return [row for row in rows if row[1] in labels]


if __name__ == "__main__":
    main()
