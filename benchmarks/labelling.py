"""How many labels `adaptkit label` saves: accuracy by labels, proposed rows against random ones.

    ADAPTKIT_DATA=... python benchmarks/labelling.py [--sets ...] [--budget 300] [--rounds 15]
        [--draws 3] [--features DIR]

Base all-MiniLM-L6-v2, frozen; a pool of 3,000 rows for each draw, at most 1,000 rows to test. In
each round the same number of rows gets a label, and a linear probe (`adaptkit/heads/`) is fitted on
all labels so far. Proposed rows come from `adaptkit/labelling/`, with the probe of the round
before. Random rows are drawn four times as often.

The last column: the labels that proposed rows need for the mean accuracy of random ones at the full
budget, as a share of the budget, interpolated between rounds. The curve of proposed rows is the
mean over draws, made monotone by isotonic regression. `--features` keeps the features.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from text_sets import MINILM, SETS, tested
from torch import Tensor
from torch.nn import functional

SHOWN = ("sentences", "news", "domains", "intents", "relations")
READ, POOL, TESTED = 4000, 3000, 1000
RANDOM = 4  # times as many draws of random rows
Data = tuple[Tensor, list[str], Tensor, list[str]]


def features(name: str, folder: Path) -> Data:
    """Unit features and labels of the rows to draw pools of, and of those to test with."""
    from adaptkit.heads.text_features import task_model, text_features
    from adaptkit.models.tokenizer import load_tokenizer

    if not (file := folder / f"{name}.pt").exists():
        train, test = SETS[name]()
        model, tokenizer = task_model(MINILM, "mean"), load_tokenizer(MINILM)
        found: list = []
        for rows in (tested(train, min(READ, len(train))), tested(test, min(TESTED, len(test)))):
            texts = [(text,) for text, _ in rows]
            found += [torch.from_numpy(text_features(model, tokenizer, texts))]
            found += [[label for _, label in rows]]
        torch.save(found, file)
    train, labels, test, wanted = torch.load(file)
    return functional.normalize(train), labels, functional.normalize(test), wanted


def pool_of(data: Data, draw: int) -> tuple[Tensor, list[str]]:
    """The features and labels of the rows of one draw."""
    rows = random.Random(draw).sample(range(len(data[1])), min(POOL, len(data[1])))
    return data[0][rows], [data[1][index] for index in rows]


def score(data: Data, train: Tensor, labels: list[str], draw: int) -> tuple[float, Any]:
    """The accuracy of a probe of labelled rows; and the probe, None if they have one label."""
    from adaptkit.heads.linear_probe import fit_linear_probe

    names = sorted(set(labels))
    if len(names) < 2:
        return data[3].count(names[0]) / len(data[3]), None
    targets = torch.tensor([names.index(label) for label in labels])
    probe = fit_linear_probe(train, targets, functional.cross_entropy, len(names), draw)
    answers = probe(data[2]).argmax(1).tolist()
    right = [names[answer] == label for answer, label in zip(answers, data[3], strict=True)]
    return statistics.mean(right), probe


def proposed(data: Data, budget: int, rounds: int, draw: int) -> list[float]:
    """Accuracy after each round of proposed rows."""
    from adaptkit.labelling.pool import FEWEST_LABELLED
    from adaptkit.labelling.select import select_rows

    train, labels = pool_of(data, draw)
    done: list[int] = []
    found = []
    probe = None
    for number in range(1, rounds + 1):
        sure = probe(train).softmax(-1) if probe and len(done) >= FEWEST_LABELLED else None
        done += select_rows(train, number * budget // rounds - len(done), done, sure, draw)
        accuracy, probe = score(data, train[done], [labels[index] for index in done], draw)
        found.append(accuracy)
    return found


def at_random(data: Data, budget: int, draw: int) -> float:
    """Accuracy of random rows."""
    train, labels = pool_of(data, draw)
    return score(data, train[:budget], labels[:budget], draw)[0]


def share(values: list[float], target: float) -> float:
    """The share of the budget at which a curve, made monotone, reaches a value; else infinity."""
    blocks: list[list[float]] = []
    for value in values:
        blocks.append([value])
        while len(blocks) > 1 and statistics.mean(blocks[-2]) >= statistics.mean(blocks[-1]):
            last = blocks.pop()
            blocks[-1] += last
    rising = [statistics.mean(block) for block in blocks for _ in block]
    before = 0.0
    for index, value in enumerate(rising):
        if value >= target:
            part = (target - before) / (value - before) if value > before and index else 1.0
            return (index + part) / len(values)
        before = value
    return float("inf")


def spread(values: list[float]) -> str:
    """Mean and standard deviation."""
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):.3f} +- {deviation:.3f}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sets", nargs="+", choices=SETS, default=SHOWN)
    parser.add_argument("--budget", type=int, default=300, help="labels (default: 300)")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--features", help="folder to keep the features in (default: none)")
    given = parser.parse_args()
    half = given.budget // given.rounds * (given.rounds // 2)
    counts = f"{half} | {given.budget}"
    print(f"| set | labels | random, {counts} | proposed, {counts} | share |")
    print("|---|---|---|---|---|---|---|")
    shares = []
    with tempfile.TemporaryDirectory() as work:
        for name in given.sets:
            data = features(name, Path(given.features or work))
            draws = range(given.draws)
            curves = [proposed(data, given.budget, given.rounds, draw) for draw in draws]
            found = [statistics.mean(values) for values in zip(*curves, strict=True)]
            others = range(RANDOM * given.draws)
            early = [at_random(data, half, draw) for draw in others]
            late = [at_random(data, given.budget, draw) for draw in others]
            shares.append(share(found, statistics.mean(late)))
            ends = ([curve[given.rounds // 2 - 1] for curve in curves], [one[-1] for one in curves])
            cells = [spread(values) for values in (early, late, *ends)]
            row = (name, str(len({*data[1]})), *cells, f"{shares[-1]:.2f}")
            print("| " + " | ".join(row) + " |", flush=True)
            print(name, [round(value, 3) for value in found], file=sys.stderr, flush=True)
    print(f"\nmean share {statistics.mean(shares):.2f}")


if __name__ == "__main__":
    main()
