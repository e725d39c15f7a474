"""How soon a drift is seen, and how often one that is none.

    ADAPTKIT_DATA=... python benchmarks/drift.py [--work DIR] [--runs 20]

A classifier of SST-2 over MiniLM, trained on 2,000 sentences, is asked sentences that it was not
trained on, AG News, or a mix. Each run is another order of the rows; every row is looked at by all
four tests, and the alarm counts after each.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from recipe_runs import data_folder, once, write_sst2

from adaptkit import Host
from adaptkit.monitoring.reference import read_reference
from adaptkit.monitoring.rows import numbers_of
from adaptkit.monitoring.watch import Watch

TRAINED, STREAM, NEWS = 2000, 5000, 3000
SHIFTS = ((0, 1.0), (2000, 1.0), (0, 0.3), (2000, 0.3), (0, 0.1))  # rows before, share after
Seen = tuple[np.ndarray, np.ndarray, np.ndarray]


def prepare(work: Path) -> tuple[list[str], list[str]]:
    """The flags of the training, and the sentences that it does not see."""
    flags = write_sst2(work)
    whole = (work / "train.tsv").read_text("utf-8").splitlines()
    head, rows = whole[0], whole[1:]
    order = np.random.default_rng(0).permutation(len(rows))
    used = [rows[i] for i in order[:TRAINED]]
    (work / "train.tsv").write_text("\n".join([head, *used]) + "\n", "utf-8")
    rest = [rows[i] for i in order[TRAINED:]] + (work / "test.tsv").read_text().splitlines()[1:]
    place = head.split("\t").index("text")
    return flags, [row.split("\t")[place] for row in rest]


def look(host: Host, folder: Path, texts: list[str]) -> Seen:
    """States, numbers and confidences of texts, as the service watches them."""
    reference = read_reference(folder)
    assert reference is not None
    task = host.describe(folder.name).task
    pairs = [numbers_of(task, answer) for answer in host(texts, folder.name)]
    numbers, confidences = (np.array(column, float) for column in zip(*pairs, strict=True))
    return reference.project(host.mean_states(texts)), numbers, confidences


def first_alarm(folder: Path, rows: list[tuple[Seen, int]]) -> int | None:
    """After how many rows a test has seen a drift."""
    reference = read_reference(folder)
    assert reference is not None
    watch = Watch(reference)
    for count, ((states, numbers, confidences), i) in enumerate(rows, 1):
        watch.add(states[i], numbers[i], confidences[i])
        if watch.alarm:
            return count
    return None


def stream(
    known: Seen, other: Seen, before: int, share: float, rows: int, seed: int
) -> list[tuple[Seen, int]]:
    """Known rows, of which a share is replaced by others after `before` of them."""
    random = np.random.default_rng(seed)
    own, strange = random.permutation(len(known[0])), random.permutation(len(other[0]))
    drawn = random.random(rows) < share
    return [
        (other, strange[i % len(strange)]) if i >= before and drawn[i] else (known, own[i])
        for i in range(rows)
    ]


def main() -> None:
    """Print one row a stream."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, help="keep the run here")
    parser.add_argument("--runs", type=int, default=20)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        work = given.work or Path(scratch)
        work.mkdir(parents=True, exist_ok=True)
        flags, texts = prepare(work)
        folder = work / "store" / "sentiment"
        once("classify", folder, *flags)
        host = Host.from_store(work / "store")
        lines = (data_folder() / "agnews" / "test.tsv").read_text("utf-8").splitlines()
        known = look(host, folder, texts)
        news = look(host, folder, [line.split("\t")[0] for line in lines[:NEWS]])
        alarms = [
            first_alarm(folder, stream(known, news, 0, 0.0, STREAM, seed))
            for seed in range(given.runs)
        ]
        print(f"no drift: {sum(map(bool, alarms))} alarms in {given.runs} runs of {STREAM:,} rows")
        print("| rows before | share of AG News | seen in | rows until then: median | most |")
        print("|---|---|---|---|---|")
        for before, share in SHIFTS:
            found = [
                first_alarm(folder, stream(known, news, before, share, before + 1500, seed))
                for seed in range(given.runs)
            ]
            after = [one - before for one in found if one is not None]
            print(
                f"| {before:,} | {share:.0%} | {len(after)} of {given.runs} | "
                f"{np.median(after) if after else '-'} | {max(after, default='-')} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
