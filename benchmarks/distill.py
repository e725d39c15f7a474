"""Distillation on SST-2: two layers of MiniLM and a BiLSTM, on labels alone and with a teacher.

    ADAPTKIT_DATA=... python benchmarks/distill.py [--seeds 1 2 3] [--students BiLSTM] [--inside]
        [--work DIR]

The teacher is all-MiniLM-L6-v2 with LoRA r 8 on q and v, trained for three epochs by
recipes/classify.py; each seed has its own. Students come from recipes/distill.py; `labels alone` is
the same run with --hard_label_share 1, which ignores the teacher. 6,920 rows to train, 872 to
validate, 1,821 to test; the unlabelled texts are phrases of the training sentences without their
labels. With --inside, two layers also learn the teacher's hidden states, or its attention maps,
from the same rows. Seconds to answer: the 1,821 test rows in fp32 in batches of 64, tokenized
before, teacher and student in turns, medians. `--work` keeps what is trained and resumes from
there.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

from recipe_runs import data_folder, once, over_seeds, write_sst2

TEACHER = ("--method", "lora[sites=attn.q|attn.v]", "--learning_rate", "2e-3")
STUDENTS = {"two layers of MiniLM": ("--student_layers", "2"), "BiLSTM": ("--student", "bilstm")}
INSIDE = {
    "hidden states": ("--hidden_state_weight", "1"),
    "attention maps": ("--attention_map_weight", "1"),
}
EPOCHS = {
    "two layers of MiniLM": ("4", "2"),
    "BiLSTM": ("10", "3"),
}  # on the labelled rows; with the phrases


def phrases(folder: Path) -> Path:
    """The phrases without their labels."""
    lines = (data_folder() / "sst2_phrases/train.tsv").read_text("utf-8").splitlines()[1:]
    file = folder / "phrases.jsonl"
    texts = (line.rpartition("\t")[0].strip() for line in lines)
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts if text), "utf-8")
    return file


def seconds(folders: dict[str, Path], test: Path, rounds: int = 5) -> dict[str, float]:
    """Seconds that each model takes to answer the test rows."""
    from adaptkit.data.readers.options import Reading
    from adaptkit.data.readers.read import read
    from adaptkit.inference.predict import predict
    from adaptkit.inference.predictor import Predictor

    work = {}
    for name, folder in folders.items():
        predictor = Predictor(folder)
        rows = predictor.task.read(read(test, Reading(wanted=("text",))), labelled=False)
        work[name] = (
            predictor,
            predictor.task.encode(rows, predictor.tokenizer, predictor.max_length, labelled=False),
        )
    times: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(rounds):
        for name, (predictor, encoded) in work.items():
            began = time.perf_counter()
            predict(predictor.model, predictor.task, encoded, predictor.tokenizer)
            times[name].append(time.perf_counter() - began)
    return {name: statistics.median(found) for name, found in times.items()}


def main() -> None:
    """Train everything and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument(
        "--students",
        nargs="+",
        default=list(STUDENTS),
        choices=STUDENTS,
        help="students to train (default: both)",
    )
    parser.add_argument(
        "--inside", action="store_true", help="train with hidden states and attention maps, too"
    )
    parser.add_argument("--work", help="folder to keep all results in (default: none)")
    given = parser.parse_args()
    runs: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as work:
        folder = Path(given.work or work)
        folder.mkdir(exist_ok=True)
        files, unlabelled = write_sst2(folder), phrases(folder)
        for seed in given.seeds:
            flags = [*files, "--seed", str(seed)]

            def keep(
                name: str, kind: str, *more: str, flags: list[str] = flags, seed: int = seed
            ) -> Path:
                out = folder / f"{name}-{seed}".replace(" ", "-").replace(",", "")
                runs.setdefault(name, []).append(once(kind, out, *flags, *more)["test_accuracy"])
                return out

            teacher = keep("teacher", "classify", *TEACHER)
            folders = {"teacher": teacher}
            for name in given.students:
                student = STUDENTS[name]
                few, many = (("--num_train_epochs", epochs) for epochs in EPOCHS[name])
                distill = ("distill", *student, "--teacher", str(teacher))
                keep(f"{name}, labels alone", *distill, *few, "--hard_label_share", "1")
                folders[name] = keep(f"{name}, distilled", *distill, *few)
                if given.inside and "--student_layers" in student:
                    for what, pull in INSIDE.items():
                        keep(f"{name}, distilled, {what}", *distill, *few, *pull)
                keep(
                    f"{name}, distilled with phrases",
                    *distill,
                    *many,
                    "--unlabelled_file",
                    str(unlabelled),
                )
            if seed == given.seeds[0]:
                times = seconds(folders, folder / "test.tsv")
    print("| model | test accuracy: mean +- deviation (each seed) | of the teacher's |")
    print("|---|---|---|")
    for name, found in runs.items():
        print(
            f"| {name} | {over_seeds(found)} | "
            f"{statistics.mean(found) / statistics.mean(runs['teacher']):.1%} |"
        )
    print()
    print("| model | seconds for 1,821 rows | times as fast as the teacher |")
    print("|---|---|---|")
    for name, value in times.items():
        print(f"| {name} | {value:.2f} | {times['teacher'] / value:.2f} |")


if __name__ == "__main__":
    sys.exit(main())
