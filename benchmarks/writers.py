"""What a small chat model writes before and after a training with the recipes' defaults.

    ADAPTKIT_DATA=... python benchmarks/writers.py [chat summarize dialogues translations]
        [--work DIR] [--seed 1]

SmolLM2-135M-Instruct. chat and summarize: the embedded corpus, without any flag. dialogues: 450
dialogues of DialogSum (its dev file) for one epoch, 64 of its test file. translations: 1,000
English sentences of Multi30k into German for two epochs, the first 64 of its test file. Perplexity
is over all test rows; ROUGE-L, or chrF of translations, over the first 64 answers, greedy, of the
adapter and of the frozen base, which is asked the same. Seconds are those of the whole command.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from recipe_runs import data_folder, once

WRITTEN = 64
SCORE = {"translations": "chrf"}  # else ROUGE-L
LANGUAGES = ["--source_lang", "en", "--target_lang", "de"]
LANGUAGES += ["--source_column", "en", "--target_column", "de"]
COLUMNS = ["--text_column", "dialogue", "--summary_column", "summary"]


def flags_of(name: str, work: Path) -> tuple[str, list[str]]:
    """The recipe of a run, and its flags."""
    if name == "dialogues":
        files = ["--train_file", str(dialogues("dev"))]
        files += ["--test_file", str(dialogues_to_test(work))]
        most = ["--max_train_samples", "450", "--num_train_epochs", "1"]
        return "summarize", [*files, *COLUMNS, *most]
    if name == "translations":
        files = ["--train_file", str(pairs("train", work, 1000))]
        files += ["--test_file", str(pairs("test", work, WRITTEN))]
        base = ["--model_name_or_path", "SmolLM2-135M-Instruct", *LANGUAGES]
        return "translate", [*files, *base, "--num_train_epochs", "2"]
    return name, []


def pairs(split: str, work: Path, count: int) -> Path:
    """A file of the first sentences of Multi30k in English and German."""
    folder = data_folder() / "multi30k"
    stem = "test_2016_flickr" if split == "test" else split
    sides = [(folder / f"{stem}.{one}").read_text("utf-8").splitlines() for one in ("en", "de")]
    rows = [{"en": one, "de": two} for one, two in zip(*sides, strict=True)][:count]
    file = work / f"{split}.jsonl"
    file.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), "utf-8")
    return file


def dialogues(split: str) -> Path:
    return data_folder() / f"dialogsum/dialogsum.{split}.jsonl"


def dialogues_to_test(work: Path) -> Path:
    """A file of the first test rows."""
    lines = dialogues("test").read_text("utf-8").splitlines()[:WRITTEN]
    file = work / "dialogues.jsonl"
    file.write_text("\n".join(lines), "utf-8")
    return file


def rows_of(name: str, out: Path) -> Any:
    """The predictor of a folder, and the test rows to answer as its task reads them."""
    from adaptkit import Predictor, read_table
    from adaptkit.data.corpus import load_corpus
    from adaptkit.data.tables import Table

    predictor = Predictor(out)
    if name == "dialogues":
        table = read_table(str(dialogues_to_test(out.parent)))
    elif name == "translations":
        table = read_table(str(pairs("test", out.parent, WRITTEN)))
    else:
        table = Table(load_corpus("test"), "corpus")
    rows = predictor.task.read(table)
    return predictor, rows.take(range(min(WRITTEN, len(rows))))


def base_score(name: str, out: Path) -> float:
    """The score of the frozen base's answers."""
    predictor, rows = rows_of(name, out)
    with predictor.model.disable_adapter():
        answers = predictor.task.generate(
            predictor.model, rows, predictor.tokenizer, predictor.max_length, 16
        )
    return predictor.task.score(answers, rows)[SCORE.get(name, "rougeL")]


def main() -> None:
    """Train what is missing and print the table."""
    names = ["chat", "summarize", "dialogues", "translations"]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", default=names)
    parser.add_argument("--seed", default="1")
    parser.add_argument("--work")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(given.work or folder)
        work.mkdir(parents=True, exist_ok=True)
        print("| run | perplexity, base | trained | ROUGE-L or chrF, base | trained | seconds |")
        print("|---|---|---|---|---|---|")
        for name in given.names:
            recipe, flags = flags_of(name, work)
            began = time.perf_counter()
            found = once(
                recipe, work / name, *flags, "--seed", given.seed, metric="test_perplexity"
            )
            seconds = time.perf_counter() - began
            scores = [found["test_base_perplexity"], found["test_perplexity"]]
            scores += [base_score(name, work / name), found[f"test_{SCORE.get(name, 'rougeL')}"]]
            cells = " | ".join(f"{score:.3f}" for score in scores)
            print(f"| {name} | {cells} | {seconds:.0f} |", flush=True)


if __name__ == "__main__":
    main()
