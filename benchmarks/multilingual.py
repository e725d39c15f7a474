"""Chinese, and labels in one language for texts in another, over multilingual-e5-small.

    ADAPTKIT_DATA=... python benchmarks/multilingual.py --base FOLDER [reviews entities ...]
        [--seeds 1 2 3] [--work DIR]

reviews: sentiment of ChnSentiCorp. entities: CLUENER, its dev file to test. questions-LANGUAGE:
XQuAD cut by article, trained in that language and tested in all four. sentences: SST-2, tested on
ChnSentiCorp; joint: SST-2 and 64 reviews. Each run has a `-full` twin, full fine-tuning. Prints one
row a run; finished runs in --work are read.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from dataclasses import dataclass
from pathlib import Path

from recipe_runs import data_folder, once, over_seeds, write_sst2
from tasks import FULL, split_xquad
from text_sets import few, reviews, sentences

LANGUAGES = ["en", "zh", "de", "es"]
LORA = ["--method", "lora[r=16,alpha=32]"]
JOINT_ROWS = 32  # a label


@dataclass(frozen=True)
class Run:
    """One training, and the files of other languages that it is tested on."""

    recipe: str
    flags: list[str]
    metric: str
    elsewhere: dict[str, Path]


def three(folder: Path, train: str, validation: str, test: str) -> list[str]:
    names = {"train": train, "validation": validation, "test": test}
    return [
        word for split, file in names.items() for word in (f"--{split}_file", f"{folder / file}")
    ]


def of_reviews(_: Path) -> Run:
    """ChnSentiCorp: 9,600 reviews to train, 1,200 to validate, 1,200 to test."""
    files = three(data_folder() / "chnsenticorp", "train.txt", "dev.txt", "test.txt")
    return Run(
        "classify", [*files, "--max_seq_length", "128", "--num_train_epochs", "2"], "accuracy", {}
    )


def of_entities(_: Path) -> Run:
    """CLUENER: its labelled test rows are the dev file."""
    folder = data_folder() / "cluener2020"
    files = ["--train_file", str(folder / "train.jsonl"), "--test_file", str(folder / "dev.jsonl")]
    return Run("tag", [*files, "--num_train_epochs", "4"], "f1", {})


def of_questions(work: Path, language: str) -> Run:
    """XQuAD in one language; the same six articles of each language to test."""
    tests = {}
    for name in LANGUAGES:
        folder = work / f"xquad-{name}"
        folder.mkdir(exist_ok=True)
        split_xquad(data_folder() / f"xquad/xquad.{name}.json", folder)
        tests[name] = folder / "test.json"
    files = three(work / f"xquad-{language}", "train.json", "validation.json", "test.json")
    sizes = ["--max_seq_length", "256", "--doc_stride", "96", "--num_train_epochs", "6"]
    others = {name: file for name, file in tests.items() if name != language}
    return Run("answer", [*files, *sizes], "f1", others)


def of_sentences(work: Path, joint: bool = False) -> Run:
    """SST-2, alone or with a few reviews in Chinese; tested on reviews, too."""
    folder = work / ("joint" if joint else "sst2")
    folder.mkdir(exist_ok=True)
    files = write_sst2(folder)
    train, test = reviews()
    write(folder / "reviews.tsv", test)
    if joint:
        rows = [*sentences()[0], *few(train, JOINT_ROWS, 0)]
        random.Random(0).shuffle(rows)
        write(folder / "train.tsv", rows)
    flags = [*files, "--max_seq_length", "128", "--num_train_epochs", "2"]
    return Run("classify", flags, "accuracy", {"zh": folder / "reviews.tsv"})


def write(file: Path, rows: list[tuple[str, str]]) -> None:
    lines = [f"{label}\t{' '.join(text.split())}" for text, label in rows]
    file.write_text("\n".join(["label\ttext", *lines]) + "\n", "utf-8")


def run_of(name: str, work: Path) -> Run:
    """The run of a name: its recipe, flags and tests."""
    kind = name.removesuffix("-full")
    if kind.startswith("questions-"):
        run = of_questions(work, kind.removeprefix("questions-"))
    elif kind in ("sentences", "joint"):
        run = of_sentences(work, kind == "joint")
    else:
        run = {"reviews": of_reviews, "entities": of_entities}[kind](work)
    method = FULL if name.endswith("-full") else LORA
    return Run(run.recipe, [*run.flags, *method], run.metric, run.elsewhere)


def score(name: str, base: str, seed: int, work: Path) -> dict[str, float]:
    """Train once; the scores by language, and the seconds of the training."""
    run = run_of(name, work)
    out = work / f"{name}-{seed}"
    flags = ["--model_name_or_path", base, *run.flags, "--seed", str(seed)]
    found = once(run.recipe, out, *flags, metric=f"test_{run.metric}")
    scores = {"": found[f"test_{run.metric}"], "seconds": found["train_runtime"]}
    for language, file in run.elsewhere.items():
        scores[language] = elsewhere(out, language, file, run.metric)
    return scores


def elsewhere(out: Path, language: str, file: Path, metric: str) -> float:
    """The score on a file of another language; kept beside the run."""
    kept = out / f"test_{language}.json"
    if not kept.exists():
        from adaptkit import Predictor, read_table

        predictor = Predictor(out)
        kept.write_text(json.dumps(predictor.evaluate(read_table(str(file)))))
    return json.loads(kept.read_text())[metric]


def main() -> None:
    """Train what is missing and print the table."""
    names = [
        "reviews",
        "entities",
        *(f"questions-{name}" for name in LANGUAGES),
        "sentences",
        "joint",
    ]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", default=names)
    parser.add_argument("--base", required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--work")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(given.work or folder)
        work.mkdir(parents=True, exist_ok=True)
        print("| run | its own test rows | other languages | seconds to train |\n|---|---|---|---|")
        for name in given.names:
            found = [score(name, given.base, seed, work) for seed in given.seeds]
            others = [
                f"{language} {over_seeds([scores[language] for scores in found])}"
                for language in found[0]
                if language not in ("", "seconds")
            ]
            own = over_seeds([scores[""] for scores in found])
            seconds = [f"{scores['seconds']:.0f}" for scores in found]
            print(f"| {name} | {own} | {', '.join(others)} | {', '.join(seconds)} |", flush=True)


if __name__ == "__main__":
    main()
