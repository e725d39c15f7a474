"""Calibration errors on SST-2, AG News and CLINC150, before and after the temperature.

    ADAPTKIT_DATA=... python benchmarks/calibration.py [sst2 agnews clinc150] [--work DIR]

One training each over MiniLM, the commands of `benchmarks/tasks.py` and of SST-2; the temperature
is fitted on the validation rows. Before: the same test logits, multiplied by it again. Finished
runs in --work are read.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from recipe_runs import data_folder, once, write_sst2
from tasks import runs

from adaptkit import Predictor
from adaptkit.data.tables import Table
from adaptkit.metrics.calibration import expected_calibration_error


def flags_of(name: str, work: Path) -> list[str]:
    if name != "sst2":
        return runs(data_folder(), work)[name][1]
    (work / "files").mkdir(exist_ok=True)
    return [*write_sst2(work / "files"), "--max_seq_length", "128", "--num_train_epochs", "3"]


def row(name: str, work: Path) -> str:
    """A line of the table."""
    out = work / f"{name}-calibrated"
    found = once("classify", out, *flags_of(name, work), "--save_total_limit", "1")
    temperature = found["eval_temperature"]
    predictor = Predictor(out)
    table = test_rows(out, predictor)
    task, rows = predictor._labelled(table, None)
    outputs, _ = predictor._outputs(task, rows, 64)
    targets = np.array([task.target(one) for one in rows.rows])
    right = outputs.argmax(-1) == targets
    before, after = (
        expected_calibration_error(task.shares(logits).max(-1), right)
        for logits in (outputs * temperature, outputs)
    )
    assert ((outputs * temperature).argmax(-1) == outputs.argmax(-1)).all()
    return (
        f"| {name} | {len(right):,} | {temperature:.2f} | {before:.4f} | {after:.4f} | "
        f"{right.mean():.4f} |"
    )


def test_rows(out: Path, predictor: Predictor) -> Table:
    """The test rows with their labels, as the run has written them."""
    lines = (out / "predictions_test.tsv").read_text("utf-8").splitlines()[1:]
    cells = [line.split("\t") for line in lines]
    text, label = (predictor.task.column(part) or part for part in ("text", "label"))
    return Table([{text: one[0], label: one[1]} for one in cells], "test")


def main() -> None:
    """Print one row a set."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sets", nargs="*", default=["sst2", "agnews", "clinc150"])
    parser.add_argument("--work", type=Path, help="keep the runs here")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        work = given.work or Path(scratch)
        work.mkdir(parents=True, exist_ok=True)
        print("| set | test rows | temperature | ECE before | after | accuracy |")
        print("|---|---|---|---|---|---|")
        for name in given.sets:
            print(row(name, work), flush=True)


if __name__ == "__main__":
    main()
