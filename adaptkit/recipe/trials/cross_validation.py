"""Train a recipe with several seeds or folds, and report mean and spread of the scores."""

from __future__ import annotations

import dataclasses
import statistics
from typing import Any

from adaptkit.data.splits import Splits, folds
from adaptkit.errors import AdaptkitError
from adaptkit.recipe.report import closing_table, write_results
from adaptkit.recipe.steps import Prepared, Shared
from adaptkit.recipe.train import train_and_report
from adaptkit.utils.processes import log_main


def train_each(prepared: Prepared, shared: Shared | None = None) -> dict[str, Any]:
    """Train every variant into its own folder; `all_results.json` has mean and standard deviation.

    Folds are made of the training and validation rows together. A fold is scored on the rows that
    it was not trained on. The epoch is chosen on them too, so `eval_` is slightly optimistic if
    many epochs are evaluated. Every model also scores the test rows, if any.

    Args:
        shared: the choices and activation cache of a search, to be reused.
    """
    results = {}
    for name, variant in variants(prepared).items():
        log_main(f"\n=== {name} ===")
        results[name], shared = train_and_report(variant, shared)  # the same texts are used again
    summary = summarize([found for found in results.values() if found])
    if summary:
        summary["runs"] = list(results)
        prepared.output_dir.mkdir(parents=True, exist_ok=True)
        write_results(prepared.output_dir, summary)
        log_main(f"\n{len(results)} runs in {prepared.output_dir}: mean (standard deviation)")
        log_main(closing_table(_rows(prepared, summary)))
    return summary


def variants(prepared: Prepared) -> dict[str, Prepared]:
    """The trainings by name: fold-1, fold-2, ... or seed-7, seed-8, ...

    Raises:
        AdaptkitError: both are requested, one fold is, or the training is to be resumed.
    """
    arguments, splits, seed = prepared.arguments, prepared.splits, prepared.training.seed
    if arguments.folds and arguments.seeds:
        raise AdaptkitError("give --folds or --seeds, not both.")
    if prepared.training.resume_from_checkpoint:
        raise AdaptkitError(
            "--resume_from_checkpoint goes with one training, not with --folds or --seeds."
        )
    if arguments.seeds:
        return {
            f"seed-{one}": _variant(prepared, f"seed-{one}", splits, one) for one in arguments.seeds
        }
    if arguments.folds < 2:
        raise AdaptkitError("--folds is 2 or more.")
    rows = splits.train.and_rows(splits.validation)
    pairs = folds(rows, prepared.task.groups(rows), arguments.folds, seed)
    return {
        f"fold-{i}": _variant(prepared, f"fold-{i}", Splits(rest, fold, splits.test), seed)
        for i, (rest, fold) in enumerate(pairs, 1)
    }


def _variant(prepared: Prepared, name: str, splits: Splits, seed: int) -> Prepared:
    folder = prepared.output_dir / name
    training = dataclasses.replace(prepared.training, seed=seed, output_dir=str(folder))
    return dataclasses.replace(prepared, splits=splits, training=training, output_dir=folder)


def summarize(results: list[dict[str, Any]]) -> dict[str, Any]:
    """The mean of every number, and its (sample) standard deviation as `NAME_std`."""
    if not results:
        return {}
    found: dict[str, Any] = {}
    for name in results[0]:
        values = [result[name] for result in results if isinstance(result.get(name), (int, float))]
        if len(values) == len(results):
            found[name] = statistics.mean(values)
            found[f"{name}_std"] = statistics.stdev(values) if len(values) > 1 else 0.0
    return found


def _rows(prepared: Prepared, summary: dict[str, Any]) -> list[tuple[str, str]]:
    def shown(name: str) -> str:
        return f"{summary[name]:.4f} ({summary[f'{name}_std']:.4f})"

    return [
        (f"{title} {name.replace('_', ' ')}", shown(f"{short}_{name}"))
        for short, title in (("eval", "validation"), ("test", "test"))
        for name in prepared.task.reported
        if f"{short}_{name}" in summary
    ]
