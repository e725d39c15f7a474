"""What a host's precision costs: accuracy and equal labels in bf16 and int8 beside fp32.

    ADAPTKIT_DATA=... python benchmarks/host_accuracy.py [sst2 clinc150] [--work DIR]

The adapters of `benchmarks/calibration.py` answer their test rows through captured networks, in
batches of 32 rows that come as the file has them. Finished runs in --work are read.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from calibration import flags_of, test_rows
from recipe_runs import once

from adaptkit import Host, Predictor

BATCH = 32


def labels(out: Path, texts: list[str], compute: str) -> list[str]:
    """What a host in this precision answers."""
    host = Host(Predictor(out).card.base, slots=1, compute=compute, capture=True)
    host.load("it", out)
    assert host.stats()["captured"], host.stats()["not_captured"]
    found = (host(texts[i : i + BATCH], "it") for i in range(0, len(texts), BATCH))
    return [answer.label for batch in found for answer in batch]


def row(name: str, work: Path) -> str:
    """A line of the table."""
    out = work / f"{name}-calibrated"
    once("classify", out, *flags_of(name, work), "--save_total_limit", "1")
    predictor = Predictor(out)
    table = test_rows(out, predictor)
    text, label = (predictor.task.column(part) or part for part in ("text", "label"))
    texts, gold = ([one[part] for one in table.rows] for part in (text, label))
    exact, *others = (labels(out, texts, one) for one in ("float32", "bfloat16", "int8"))

    def share(one: list[str], other: list[str]) -> float:
        return sum(map(str.__eq__, one, other)) / len(one)

    cells = [f"{share(one, gold):.4f} | {share(one, exact):.4f}" for one in others]
    return f"| {name} | {len(texts):,} | {share(exact, gold):.4f} | {' | '.join(cells)} |"


def main() -> None:
    """Print one row a set."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sets", nargs="*", default=["sst2", "clinc150"])
    parser.add_argument("--work", type=Path, help="keep the runs here")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        work = given.work or Path(scratch)
        work.mkdir(parents=True, exist_ok=True)
        print("| set | test rows | fp32 | bf16 | labels as in fp32 | int8 | labels as in fp32 |")
        print("|---|---|---|---|---|---|---|")
        for name in given.sets:
            print(row(name, work), flush=True)


if __name__ == "__main__":
    main()
