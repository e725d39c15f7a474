"""Every text task on real data with all-MiniLM-L6-v2, one recipe command each.

    ADAPTKIT_DATA=... python benchmarks/tasks.py [agnews conll2003 ...] [--seed 1]

Compared to full fine-tuning where that is the reference. Reads the published files under
$ADAPTKIT_DATA/data as they are and prints a Markdown table; the commands are printed to stderr.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
STSB = [
    "index",
    "genre",
    "filename",
    "year",
    "old_index",
    "source1",
    "source2",
    "sentence1",
    "sentence2",
    "score",
]
LORA = "lora[r=16,alpha=32]"


def runs(data: Path, work: Path) -> dict[str, tuple[str, list[str], str, str]]:
    """name -> (recipe, flags, metric, the figure to compare with).

    Full fine-tuning is its own run.
    """
    conll = files(data / "conll2003", "train.txt", "valid.txt", "test.txt")
    xquad = files(work, *split_xquad(data / "xquad/xquad.en.json", work))
    answers = ["--max_seq_length", "256", "--doc_stride", "96"]
    wikitext = files(data / "wikitext2", "valid.txt", None, "test.txt")
    stories = [
        "--model_name_or_path",
        str(data.parent / "models/stories260K"),
        "--objective",
        "clm",
        "--max_seq_length",
        "256",
    ]
    stsb = [*files(data / "stsb", "train.tsv", "dev.tsv", "test.tsv"), "--column_names", *STSB]
    stsb += [
        "--text_column",
        "sentence1",
        "--text_pair_column",
        "sentence2",
        "--score_column",
        "score",
    ]
    return {
        "agnews": (
            *(
                "classify",
                [*files(data / "agnews", "dev.tsv", None, "test.tsv"), "--learning_rate", "1e-3"],
            ),
            *("accuracy", "PEFT LoRA r 8 0.900, full 0.906 (Trainer)"),
        ),
        "clinc150": (
            *(
                "classify",
                [
                    "--train_file",
                    str(data / "clinc150/data_full.json"),
                    "--num_train_epochs",
                    "8",
                    *LONGER,
                ],
            ),
            *("accuracy", "PEFT LoRA r 8 0.927 (Trainer, 3 epochs)"),
        ),
        "conll2003": (
            "tag",
            [*conll, "--method", LORA, "--num_train_epochs", "4"],
            "f1",
            "the next row",
        ),
        "conll2003-full": (
            "tag",
            [*conll, *FULL, "--num_train_epochs", "4"],
            "f1",
            "full fine-tuning, Trainer",
        ),
        "stsb": (
            "score",
            [*stsb, "--method", LORA, "--num_train_epochs", "8"],
            "spearmanr",
            "the cosine of the next row",
        ),
        "stsb-embed": (
            "embed",
            [*stsb, "--method", LORA, "--num_train_epochs", "4"],
            "spearmanr",
            "the frozen base's cosine",
        ),
        "semeval2010": (
            *(
                "relate",
                [
                    *files(
                        data / "semeval2010_task8", "TRAIN_FILE.TXT", None, "TEST_FILE_FULL.TXT"
                    ),
                    *SEMEVAL,
                ],
            ),
            *("f1_semeval", "0.822 of the shared task's winner (Rink and Harabagiu 2010)"),
        ),
        "wikitext2": (
            *(
                "pretrain",
                [
                    *wikitext,
                    *stories,
                    "--method",
                    "lora[r=16,alpha=32]",
                    "--num_train_epochs",
                    "4",
                    *LONGER,
                ],
            ),
            *("perplexity", "the frozen model"),
        ),
        "xquad": (
            "answer",
            [*xquad, *answers, "--method", LORA, "--num_train_epochs", "6"],
            "f1",
            "the next row",
        ),
        "xquad-full": (
            "answer",
            [*xquad, *answers, *FULL, "--num_train_epochs", "6"],
            "f1",
            "full fine-tuning, Trainer",
        ),
    }


FULL = ["--method", "full", "--learning_rate", "5e-5"]
SEMEVAL = ["--method", LORA, "--num_train_epochs", "8"]
LONGER = ["--learning_rate", "2e-3", "--per_device_train_batch_size", "32"]


def files(folder: Path, train: str, validation: str | None, test: str) -> list[str]:
    """The flags of three files."""
    flags = ["--train_file", str(folder / train), "--test_file", str(folder / test)]
    return flags + (["--validation_file", str(folder / validation)] if validation else [])


def split_xquad(source: Path, work: Path) -> tuple[str, str, str]:
    """Whole articles to train (38), validate (4) and test (6), in the order of the file."""
    articles = json.loads(source.read_text("utf-8"))["data"]
    for name, part in (
        ("train", articles[:38]),
        ("validation", articles[38:42]),
        ("test", articles[42:]),
    ):
        (work / f"{name}.json").write_text(json.dumps({"data": part}), "utf-8")
    return "train.json", "validation.json", "test.json"


def main() -> None:
    """Run the requested tasks and print a row each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help="tasks to run (default: all)")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    folder = os.environ.get("ADAPTKIT_DATA")
    if not folder:
        sys.exit("ADAPTKIT_DATA is not set: it names the folder that holds data/")
    with tempfile.TemporaryDirectory() as place:
        work = Path(place)
        known = runs(Path(folder) / "data", work)
        print(
            "| data | flags | test score | beside | parameters | seconds "
            "|\n|---|---|---|---|---|---|",
            flush=True,
        )
        for name in given.names or known:
            recipe, flags, metric, beside = known[name]
            found = train(recipe, [*flags, "--seed", str(given.seed)], work / name)
            own = " ".join(flag if "/" not in flag else Path(flag).name for flag in flags).replace(
                "|", "\\|"
            )
            others = ", ".join(
                f"{key[5:]} {found[key]:.4f}"
                for key in (
                    "test_exact_match",
                    "test_pearson",
                    "test_base_perplexity",
                    "test_base_spearmanr",
                )
                if key in found
            )
            print(
                f"| {name} | `recipes/{recipe}.py {own}` | {metric} "
                f"**{found[f'test_{metric}']:.4f}** {others} | {beside} "
                f"| {found['trainable_parameters']:,} | {found['train_runtime']:.0f} |",
                flush=True,
            )


def train(recipe: str, flags: list[str], out: Path) -> dict:
    """One recipe, as a user runs it."""
    command = [
        sys.executable,
        str(ROOT / f"recipes/{recipe}.py"),
        *flags,
        "--output_dir",
        str(out),
        "--disable_tqdm",
        "true",
    ]
    print(" ".join(command[1:]), file=sys.stderr, flush=True)
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr[-3000:])
    return json.loads((out / "all_results.json").read_text())


if __name__ == "__main__":
    main()
