"""The effect of each training speed-up on accuracy and time: SST-2, frozen all-MiniLM-L6-v2.

    ADAPTKIT_DATA=... python benchmarks/speed_ups.py [--seeds 1 2 3] [--epochs 1] [--cases ...]
        [--work DIR]

LoRA r 8 on q and v. recipes/classify.py with all speed-ups (the default), and with one of them off
at a time; 6,920 rows, batches of 32, rate 2e-3, 872 rows to validate after each epoch and 1,821 to
test. The cases are in turns for each seed; the last two are for a machine that computes in bf16.
The last layer and the attention are tested to give the same, the others change what is trained. The
activation cache has its own benchmark. `--work` keeps what is trained and resumes from there.
"""

import argparse
import statistics
import tempfile
from pathlib import Path

from recipe_runs import once, over_seeds, write_sst2

CASES = {
    "all of them": (),
    "the base's dropout on": ("--base_dropout", "true"),
    "rows in random batches": ("--train_sampling_strategy", "random"),
    "the last layer whole": ("--whole_last_layer", "true"),
    "sdpa attention": ("--attn_implementation", "sdpa"),
    "plain attention": ("--attn_implementation", "eager"),
    "the base in fp32 under bf16": ("--dtype", "float32"),
    "fp32": ("--bf16", "false"),
}


def main() -> None:
    """Train everything and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--epochs", default="1")
    parser.add_argument(
        "--cases",
        nargs="+",
        choices=CASES,
        metavar="NAME",
        default=list(CASES)[:-2],
        help="cases by name (default: all but the last two)",
    )
    parser.add_argument("--work", help="folder to keep all results in (default: none)")
    given = parser.parse_args()
    found: dict[str, list[dict[str, float]]] = {name: [] for name in given.cases}
    with tempfile.TemporaryDirectory() as work:
        folder = Path(given.work or work)
        folder.mkdir(exist_ok=True)
        flags = [
            *write_sst2(folder),
            "--method",
            "lora[sites=attn.q|attn.v]",
            "--learning_rate",
            "2e-3",
        ]
        flags += ["--num_train_epochs", given.epochs]
        for seed in given.seeds:
            for name in given.cases:
                out = folder / f"{name}-{seed}".replace(" ", "-").replace("'", "")
                found[name].append(once("classify", out, *flags, *CASES[name], "--seed", str(seed)))
    print(
        "| off | training, s (median) | test accuracy: mean +- deviation (each seed) "
        "|\n|---|---|---|"
    )
    for name, runs in found.items():
        seconds = statistics.median(run["train_runtime"] for run in runs)
        print(f"| {name} | {seconds:.0f} | {over_seeds([run['test_accuracy'] for run in runs])} |")


if __name__ == "__main__":
    main()
