"""Several trainings of one recipe: with several seeds, or on several folds of the training rows; mean and spread of scores."""

from __future__ import annotations

import dataclasses
import statistics
from typing import Any

from adaptkit import report
from adaptkit.errors import AdaptkitError
from adaptkit.launch import say
from adaptkit.run import Run, train_whole
from adaptkit.tables import Splits, folds


def train_each(run: Run) -> dict[str, Any]:
    """Train every variant into its own folder, and write `all_results.json` with mean and standard deviation of all of them.

    Folds are made of the training and the validation rows together. A fold's own scores are on the rows that it was not trained
    on; the epoch is chosen on them too, so `eval_` is a little too good where many epochs are judged. Test rows, where there are
    any, are scored by every model.
    """
    results = {}
    for name, variant in variants(run).items():
        say(f"\n=== {name} ===")
        variant.kept = run.kept  # the same texts come again
        results[name] = train_whole(variant)
        run.kept = variant.kept
    summary = summarize([found for found in results.values() if found])
    if summary:
        summary["runs"] = list(results)
        run.output_dir.mkdir(parents=True, exist_ok=True)
        report.write_results(run.output_dir, summary)
        say(f"\n{len(results)} runs in {run.output_dir}: mean (standard deviation)")
        say(report.closing_table(_rows(run, summary)))
    return summary


def variants(run: Run) -> dict[str, Run]:
    """The runs by name: fold-1, fold-2, ... or seed-7, seed-8, ...

    Raises:
        AdaptkitError: both were asked for, one fold, or a run to go on with.
    """
    arguments = run.arguments
    if arguments.folds and arguments.seeds:
        raise AdaptkitError("give --folds or --seeds, not both.")
    if run.training.resume_from_checkpoint:
        raise AdaptkitError("--resume_from_checkpoint goes with one training, not with --folds or --seeds.")
    if arguments.seeds:
        return {f"seed-{seed}": _variant(run, f"seed-{seed}", run.splits, seed) for seed in arguments.seeds}
    if arguments.folds < 2:
        raise AdaptkitError("--folds is 2 or more.")
    rows = run.splits.train.and_rows(run.splits.validation)
    pairs = folds(rows, run.task.groups(rows), arguments.folds, run.training.seed)
    return {
        f"fold-{i}": _variant(run, f"fold-{i}", Splits(rest, fold, run.splits.test), run.training.seed)
        for i, (rest, fold) in enumerate(pairs, 1)
    }


def _variant(run: Run, name: str, splits: Splits, seed: int) -> Run:
    folder = run.output_dir / name
    training = dataclasses.replace(run.training, seed=seed, output_dir=str(folder))
    return dataclasses.replace(run, splits=splits, training=training, output_dir=folder, model=None, parts={})


def summarize(results: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean of every number, and its standard deviation (of a sample) as `NAME_std`."""
    if not results:
        return {}
    found: dict[str, Any] = {}
    for name in results[0]:
        values = [result[name] for result in results if isinstance(result.get(name), (int, float))]
        if len(values) == len(results):
            found[name] = statistics.mean(values)
            found[f"{name}_std"] = statistics.stdev(values) if len(values) > 1 else 0.0
    return found


def _rows(run: Run, summary: dict[str, Any]) -> list[tuple[str, str]]:
    return [
        (f"{title} {name.replace('_', ' ')}", f"{summary[f'{short}_{name}']:.4f} ({summary[f'{short}_{name}_std']:.4f})")
        for short, title in (("eval", "validation"), ("test", "test"))
        for name in run.task.reported
        if f"{short}_{name}" in summary
    ]
