"""Does feedback make a service better, and does false feedback make it worse?

    ADAPTKIT_DATA=... python benchmarks/refresh.py --work DIR --model_name_or_path E5

A classifier of English film reviews (SST-2, 2,000 sentences) over multilingual-e5-small is asked
Chinese reviews of hotels (ChnSentiCorp). It is refreshed with 200 rows of feedback on these, once
with right labels and once with flipped ones, and judged by ChnSentiCorp's 1,200 test rows.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import numpy as np
from drift import prepare
from recipe_runs import data_folder, once

from adaptkit.monitoring.log import LogWriter
from adaptkit.recipe.refresh.refresh import Refreshed, refresh

FEEDBACK = 200


def reviews(split: str) -> list[tuple[str, str]]:
    """(text, label) of ChnSentiCorp."""
    lines = (data_folder() / "chnsenticorp" / f"{split}.txt").read_text("utf-8").splitlines()
    pairs = [line.rsplit("\t", 1) for line in lines if "\t" in line]
    return [(text, label) for text, label in pairs if label in ("0", "1")]


def refreshed(trained: Path, work: Path, flipped: bool, seed: int) -> Refreshed:
    """A copy of the trained adapter, refreshed with feedback."""
    folder = work / ("flipped" if flipped else "right") / str(seed)
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(trained, folder / "sentiment")
    rows = reviews("train")
    chosen = np.random.default_rng(seed).permutation(len(rows))[:FEEDBACK]
    log = LogWriter(folder / "log", plain=True)
    for text, label in (rows[i] for i in chosen):
        correct = str(1 - int(label)) if flipped else label
        given = {"id": None, "adapter": "sentiment", "version": None, "task": "classify"}
        log.write("feedback", [{**given, "input": text, "correct": correct}])
    log.close()
    test = folder / "test.tsv"
    body = "".join(f"{label}\t{text}\n" for text, label in reviews("test"))
    test.write_text("label\ttext\n" + body, "utf-8")
    return refresh(folder / "sentiment", folder / "log", test_file=str(test))


def main() -> None:
    """Print one row a refresh."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True, help="keep the runs here")
    parser.add_argument("--model_name_or_path", default="multilingual-e5-small")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1])
    given = parser.parse_args()
    files = given.work / "files"
    files.mkdir(parents=True, exist_ok=True)
    flags, _ = prepare(files)
    trained = given.work / "trained"
    once("classify", trained, *flags, "--model_name_or_path", given.model_name_or_path)
    lines = ["| feedback | seed | accuracy before | after | interval of the difference | |"]
    lines += ["|---|---|---|---|---|---|"]
    for flipped in (False, True):
        for seed in given.seeds:
            found = refreshed(trained, given.work, flipped, seed)
            one = found.compared.metrics["accuracy"]
            lines.append(
                f"| {'flipped' if flipped else 'right'} | {seed} | {one.first:.4f} | "
                f"{one.second:.4f} | {one.low:+.4f} to {one.high:+.4f} | "
                f"{'promoted' if found.promoted else 'kept'} |"
            )
    print("\n".join(lines))


if __name__ == "__main__":
    main()
