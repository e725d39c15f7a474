"""Adapter, head, last[2] or full on SST-2: parameters, memory, time, accuracy, forgetting.

    ADAPTKIT_DATA=... python benchmarks/what_trains.py [--seeds 1 2 3] [--epochs 2] [--work DIR]

Base all-MiniLM-L6-v2, recipes/classify.py with the default settings of each `--train` (adapter:
lora, all linear maps) and, last, all weights with L2-SP (--l2_sp 0.01). 6,920 rows to train, 872 to
validate, 1,821 to test. Forgetting: `adaptkit forgetting` over the first 20,000 characters of
WikiText-2's test text, under a masked language head fitted to the frozen base on its validation
text. Memory is the peak of the whole process, in fp32 or bf16 as the machine has it; seconds are
those of training. `--work` keeps what is trained and resumes from there.
"""

import argparse
import re
import statistics
import sys
import tempfile
from pathlib import Path

from recipe_runs import data_folder, once, over_seeds, write_sst2

BASE = "all-MiniLM-L6-v2"
WHAT = {
    "adapter (lora)": (),
    "head": ("--train", "head"),
    "last[2]": ("--train", "last[2]"),
    "full": ("--train", "full"),
    "full, L2-SP 0.01": ("--train", "full", "--l2_sp", "0.01"),
}


def main() -> None:
    """Fit the language head, train everything and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--epochs", default="2")
    parser.add_argument("--work", help="folder to keep all results in (default: none)")
    given = parser.parse_args()
    from adaptkit.transfer.forgetting import forgetting

    rows: dict[str, list[dict[str, float]]] = {name: [] for name in WHAT}
    with tempfile.TemporaryDirectory() as work:
        folder = Path(given.work or work)
        folder.mkdir(exist_ok=True)
        files = write_sst2(folder)
        text = {
            split: (data_folder() / f"wikitext2/{split}.txt").read_text("utf-8")
            for split in ("valid", "test")
        }
        (folder / "fit.txt").write_text(text["valid"][:150_000], "utf-8")
        (folder / "general.txt").write_text(text["test"][:20_000], "utf-8")
        language = [
            "--model_name_or_path",
            BASE,
            "--train",
            "head",
            "--train_file",
            str(folder / "fit.txt"),
        ]
        once(
            "pretrain",
            folder / "language",
            *language,
            "--num_train_epochs",
            "2",
            metric="eval_perplexity",
        )
        for seed in given.seeds:
            for name, flags in WHAT.items():
                out = folder / f"{re.sub('[^a-z0-9]+', '-', name)}-{seed}"
                more = [*flags, "--seed", str(seed), "--num_train_epochs", given.epochs]
                found = once("classify", out, *files, *more)
                told = forgetting(out, folder / "general.txt", head=str(folder / "language"))
                rows[name].append(
                    found | {"before": told["before"], "rise": told["after"] - told["before"]}
                )
    before = next(iter(rows.values()))[0]["before"]
    print(f"Loss of the frozen base under the fitted head: {before:.3f} nats a hidden token.\n")
    print(
        "| `--train` | parameters | peak memory, GB | training, s | test accuracy | loss of "
        "general text rises by |"
    )
    print("|---|---|---|---|---|---|")
    for name, found in rows.items():
        memory, seconds = (
            statistics.median(one[key] for one in found)
            for key in ("peak_memory_gb", "train_runtime")
        )
        accuracy, rise = (
            over_seeds([one[key] for one in found]) for key in ("test_accuracy", "rise")
        )
        print(
            f"| {name} | {found[0]['trainable_parameters']:,.0f} | {memory:.2f} | {seconds:.0f} "
            f"| {accuracy} | {rise} |"
        )


if __name__ == "__main__":
    sys.exit(main())
