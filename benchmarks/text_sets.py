"""Published text sets as rows of text and label, and draws of few rows a label."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable
from pathlib import Path

from recipe_runs import data_folder

Rows = list[tuple[str, str]]  # text, label
MINILM = "sentence-transformers/all-MiniLM-L6-v2"


def _lines(file: Path, encoding: str = "utf-8") -> list[str]:
    return [line for line in file.read_text(encoding).splitlines() if line.strip()]


def sentences() -> tuple[Rows, Rows]:
    """Sentiment of sentences, 2 labels (SST-2)."""

    def rows(split: str) -> Rows:
        lines = _lines(data_folder() / f"sst2/stsa.binary.{split}", "latin-1")
        return [(text, label) for label, _, text in (line.partition(" ") for line in lines)]

    return rows("train"), rows("test")


def news() -> tuple[Rows, Rows]:
    """Topics of news, 4 labels (AG News)."""

    def rows(split: str) -> Rows:
        lines = _lines(data_folder() / f"agnews/{split}.tsv")
        return [(text, label) for text, _, label in (line.rpartition("\t") for line in lines)]

    return rows("dev"), rows("test")


def intents() -> tuple[Rows, Rows]:
    """What a request is for, 150 labels (CLINC150)."""
    found = json.loads((data_folder() / "clinc150/data_full.json").read_text("utf-8"))
    train, test = ([(text, label) for text, label in found[split]] for split in ("train", "test"))
    return train, test


def domains() -> tuple[Rows, Rows]:
    """Where a request belongs, 10 labels (CLINC150)."""
    named = json.loads((data_folder() / "clinc150/domains.json").read_text("utf-8"))
    of = {intent: domain for domain, intents_ in named.items() for intent in intents_}
    train, test = ([(text, of[label]) for text, label in rows] for rows in intents())
    return train, test


def relations() -> tuple[Rows, Rows]:
    """The relation of two marked words, 19 labels (SemEval 2010, task 8)."""

    def rows(file: str) -> Rows:
        cases = (data_folder() / "semeval2010_task8" / file).read_text("utf-8").replace("\r", "")
        lines = [case.split("\n") for case in cases.strip().split("\n\n")]
        return [(case[0].partition("\t")[2].strip('"'), case[1].strip()) for case in lines]

    return rows("TRAIN_FILE.TXT"), rows("TEST_FILE_FULL.TXT")


def reviews() -> tuple[Rows, Rows]:
    """Sentiment of reviews in Chinese, 2 labels (ChnSentiCorp)."""

    def rows(split: str) -> Rows:
        lines = _lines(data_folder() / f"chnsenticorp/{split}.txt", "utf-8-sig")
        return [(text, label) for text, _, label in (line.rpartition("\t") for line in lines)]

    return rows("train"), rows("test")


SETS: dict[str, Callable[[], tuple[Rows, Rows]]] = {
    "sentences": sentences,
    "news": news,
    "intents": intents,
    "domains": domains,
    "relations": relations,
    "reviews": reviews,
}


def few(rows: Rows, count: int, seed: int) -> Rows:
    """This many rows of each label, or all of a label that has fewer; 0: all rows."""
    if not count:
        return rows
    draw = random.Random(seed)
    by_label: dict[str, Rows] = {}
    for row in rows:
        by_label.setdefault(row[1], []).append(row)
    chosen = [
        row
        for label in sorted(by_label)
        for row in draw.sample(by_label[label], min(count, len(by_label[label])))
    ]
    draw.shuffle(chosen)
    return chosen


def tested(rows: Rows, most: int) -> Rows:
    """At most so many rows to test with, always the same."""
    return random.Random(0).sample(rows, min(most, len(rows)))


if __name__ == "__main__":
    for name, read in SETS.items():
        train, test = read()
        print(name, len(train), len(test), len({label for _, label in train}), file=sys.stdout)
