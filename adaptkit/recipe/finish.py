"""After training: evaluate, save, write every report, print the closing table."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

from adaptkit.adapters.card import WEIGHTS, TaskCard, read_card
from adaptkit.adapters.full import FULL, MODEL, save_full
from adaptkit.adapters.model_card import shown_metrics, training_settings, write_model_card
from adaptkit.adapters.save_load import save_adapter
from adaptkit.data.tables import Table
from adaptkit.heads.calibrate import calibrate, warn_without_rows
from adaptkit.heads.mean_states import mean_states
from adaptkit.host.answers import typed
from adaptkit.inference.confusions import confusions
from adaptkit.inference.predict import predict
from adaptkit.inference.training_file import kept_reading
from adaptkit.models.backbone import backbone_of, bare_model
from adaptkit.monitoring.reference import FILE as REFERENCE
from adaptkit.monitoring.reference import ROWS, Reference
from adaptkit.recipe import report
from adaptkit.recipe.prepare import reading_for
from adaptkit.recipe.steps import Fitted, Loaded
from adaptkit.tasks.base import TRY, Task
from adaptkit.utils.plots import draw_curves, warn_if_not_drawn
from adaptkit.utils.processes import is_main, log_main

SHORT = {
    "validation": "eval",
    "test": "test",
}  # split -> the prefix of its metrics in Trainer
Answers = list[dict[str, Any]]


def finish(fitted: Fitted) -> dict[str, Any]:
    """Evaluate, save and report, on the main process only; a stopped training is not evaluated.

    Returns:
        The content of `all_results.json`; empty on the other processes.
    """
    if not is_main():
        return {}
    metrics: dict[str, Any] = dict(fitted.output.metrics)
    stop = fitted.output.stopped
    if not stop:
        fitted, found = _calibrated(fitted)
        metrics |= {f"eval_{name}": value for name, value in found.items()}
    loaded, folder = fitted.loaded, fitted.loaded.prepared.output_dir
    evaluated = [split for split in SHORT if split in loaded.encoded.splits and not stop]
    shown = evaluated[-1] if evaluated else "train"
    answers: Answers = []
    first: Answers = []
    for split in evaluated:
        found, answers = evaluate(loaded, split, write=split == shown)
        first = first or answers
        metrics |= {f"{SHORT[split]}_{name}": value for name, value in found.items()}
    table = loaded.encoded.splits[shown].table.take(range(len(answers)))
    parameters = loaded.model.parameters()
    for split, score in (loaded.head_start.scores if loaded.head_start else {}).items():
        metrics[f"{SHORT[split]}_probe_{loaded.prepared.task.best_metric}"] = score
    metrics["trainable_parameters"] = sum(p.numel() for p in parameters if p.requires_grad)
    save(loaded, folder, metrics, stopped=str(stop) if stop else None)
    keep_reference(loaded, folder, first)
    weights = Path(MODEL if loaded.prepared.arguments.method == FULL else WEIGHTS)
    files = folder.glob(f"{weights.stem}*.safetensors")
    metrics["adapter_bytes"] = sum(path.stat().st_size for path in files)
    task = loaded.prepared.task
    warnings = task.warnings(answers, table) if answers else []
    warnings += [*_beside_the_probe(fitted), *_beside_the_base(task, metrics, SHORT.get(shown, ""))]
    warnings += _trained_again(fitted)
    warnings += [f"the training was stopped {stop}, and nothing was evaluated"] if stop else []
    _write_reports(fitted, metrics, shown, table, answers, warnings)
    closing = report.closing_table(_closing(task, metrics))
    log_main(f"\nsaved to {folder}\n{closing}")
    for warning in (*warnings, *_untrained(loaded)):
        log_main(f"warning: {warning}")
    return metrics


def _calibrated(fitted: Fitted) -> tuple[Fitted, dict[str, float]]:
    """The model with calibrated probabilities, by its validation rows, and what was found."""
    loaded = fitted.loaded
    split = loaded.encoded.splits.get("validation")
    if split is None:
        warn_without_rows(loaded.prepared.task, 0)
        return fitted, {}
    task, found = calibrate(
        loaded.model,
        loaded.prepared.task,
        split.table,
        split.encoded,
        loaded.encoded.tokenizer,
        loaded.prepared.training.per_device_eval_batch_size,
    )
    return dataclasses.replace(fitted, loaded=loaded.with_task(task)), found


def _beside_the_probe(fitted: Fitted) -> list[str]:
    """What to know if the training made the head's linear probe no better."""
    start = fitted.loaded.head_start
    if not fitted.put_back or start is None:
        return []
    metric = fitted.loaded.prepared.task.best_metric
    return [
        f"no epoch was as good as the linear probe that the head started from (validation "
        f"{metric} {start.scores['validation']:.4f}): the probe is kept, "
        f"{_left(fitted.loaded.prepared.arguments)}"
    ]


def _beside_the_base(task: Task, metrics: dict[str, Any], split: str) -> list[str]:
    """What to know if the frozen base does the task better than the trained adapter."""
    metric = task.best_metric
    base, trained = metrics.get(f"{split}_base_{metric}"), metrics.get(f"{split}_{metric}")
    sign = -1 if task.lower_is_better else 1
    if base is None or trained is None or sign * trained >= sign * base:
        return []
    return [
        f"the frozen base is better without the adapter ({metric} {base:.4f}, with it "
        f"{trained:.4f}). {TRY}"
    ]


def _left(arguments: Any) -> str:
    """What a kept probe leaves of the training, and what to try instead."""
    if arguments.method != FULL:
        changed, other = "and the adapter changes nothing", "another --method"
    elif arguments.train == "head":
        changed, other = "and the head is what it was before the training", "an adapter"
    else:
        changed, other = "and the base's weights are what they were before", "an adapter"
    return f"{changed}. Try a lower --learning_rate, more epochs or {other}"


def _trained_again(fitted: Fitted) -> list[str]:
    """That a first training was given up, and with what this one was trained."""
    if not fitted.dead:
        return []
    rate = fitted.loaded.prepared.training.learning_rate
    return [
        f"after the first evaluation of a first training: {fitted.dead}. This one was trained with "
        f"--learning_rate {rate:g}"
    ]


def _untrained(loaded: Loaded) -> list[str]:
    """A reminder that the base was made on the spot, if its answers are meant to be read."""
    made = not loaded.prepared.arguments.model_name_or_path and loaded.prepared.task.answers
    folder = loaded.prepared.output_dir / "base"
    if not made or loaded.prepared.base != str(folder) or hasattr(loaded.prepared.task, "teacher"):
        return []
    return [
        "the base is a small untrained model, so the answers mean nothing; for real ones give "
        "--model_name_or_path"
    ]


def evaluate(loaded: Loaded, split: str, write: bool) -> tuple[dict[str, Any], Answers]:
    """The metrics and answers of a split; generating tasks only answer with `write`."""
    task, encoded = loaded.prepared.task, loaded.encoded
    rows, table = encoded.splits[split].encoded, encoded.splits[split].table
    batch_size = loaded.prepared.training.per_device_eval_batch_size
    began = time.perf_counter()
    outputs = predict(loaded.model, task, rows, encoded.tokenizer, batch_size, title=split)
    seconds = time.perf_counter() - began
    metrics = task.metrics(outputs, rows, table)
    if task.generates:
        written, answers = _generate(loaded, table, write)
        metrics |= written
    else:
        answers = task.decode(outputs, rows, table) if task.answers else []
    metrics |= task.baseline(loaded.prepared.splits.train, table)
    if _base_alone_can(loaded):
        with loaded.model.disable_adapter():
            outputs = predict(loaded.model, task, rows, encoded.tokenizer, batch_size, title=split)
        metrics[f"base_{task.best_metric}"] = task.metrics(outputs, rows, table)[task.best_metric]
    speed = round(len(table) / seconds, 2)
    return metrics | {"samples": len(table), "samples_per_second": speed}, answers


def _generate(loaded: Loaded, table: Table, write: bool) -> tuple[dict[str, Any], Answers]:
    """Generated answers to the first rows, and their metrics."""
    task, encoded = loaded.prepared.task, loaded.encoded
    most = getattr(task, "num_generated", 0) or len(table)
    first = table.take(range(min(len(table), most) if write else 0))
    if not len(first):
        return {}, []
    model = loaded.model.eval()
    answers = task.generate(model, first, encoded.tokenizer, encoded.max_length, 16)
    return task.score(answers, first) | {"generated_samples": len(answers)}, answers


def _base_alone_can(loaded: Loaded) -> bool:
    """True if the base can do the task without an adapter, so that it is scored for comparison."""
    adapted = loaded.prepared.arguments.method != FULL
    return (
        loaded.prepared.task.base_knows
        and adapted
        and not bare_model(loaded.model).adaptkit_base.head
    )


def save(loaded: Loaded, folder: Path, metrics: dict[str, Any], stopped: str | None = None) -> None:
    """Save the adapter with its card, or the full model.

    stopped: how the training was stopped, if it was.
    """
    task = loaded.prepared.task
    scores = {
        name: value
        for name, value in metrics.items()
        if name.startswith(("eval_", "test_")) and isinstance(value, float)
    }
    card = TaskCard(
        task=task.name,
        labels=task.labels,
        columns={part: column for part in task.parts if (column := task.column(part))},
        settings=task.settings(),
        max_length=loaded.encoded.max_length,
        reading=kept_reading(
            loaded.prepared.arguments.train_file,
            reading_for(task, loaded.prepared.arguments),
            loaded.prepared.splits.train.read_as,
        ),
        metrics=scores,
        stopped=stopped,
    )
    if loaded.prepared.arguments.method == FULL:
        save_full(loaded.model, loaded.encoded.tokenizer, folder, card)
    else:
        save_adapter(loaded.model, folder, card=card)


def keep_reference(loaded: Loaded, folder: Path, answers: Answers) -> None:
    """Keep what a drift of inputs and answers is seen by; see `adaptkit.monitoring`.

    answers: to rows that were not trained on.
    """
    (folder / REFERENCE).unlink(missing_ok=True)
    task, arguments = loaded.prepared.task, loaded.prepared.arguments
    most = arguments.reference_rows
    if most is None:
        most = 0 if task.generates or not task.answers else ROWS
    if not most or arguments.method == FULL:
        return
    network = backbone_of(bare_model(loaded.model.eval()))[0]
    with loaded.model.disable_adapter():
        reference = Reference.make(
            task,
            loaded.encoded.splits["train"].table.rows,
            [typed(task, answer, 0) for answer in answers],
            lambda texts: mean_states(network, loaded.encoded.tokenizer, texts),
            loaded.prepared.training.seed,
            most,
        )
    if reference is not None:
        reference.save(folder)


def _write_reports(
    fitted: Fitted,
    metrics: dict[str, Any],
    split: str,
    table: Table,
    answers: Answers,
    warnings: list[str],
) -> None:
    prepared = fitted.loaded.prepared
    folder, task = prepared.output_dir, prepared.task
    report.remove_reports(folder)
    report.write_results(folder, metrics)
    report.write_recipe(folder, prepared)
    if answers:
        _write_answers(folder, task, split, table, answers)
    card = read_card(folder)
    assert card is not None  # `save` has just written it
    settings = training_settings(prepared.training, prepared.arguments, task, prepared.given)
    sizes = {name: len(part) for name, part in prepared.splits.items()}
    write_model_card(folder, task, card, metrics, settings, sizes, warnings)
    curves = draw_curves(folder / "curves.png", fitted.output.history, task.best_metric)
    warn_if_not_drawn([curves, *(task.pictures(folder, answers, table) if answers else [])])


def _write_answers(folder: Path, task: Task, split: str, table: Table, answers: Answers) -> None:
    """Write predictions beside references, scores by label, and kinds of mistakes."""
    report.write_predictions(folder / f"predictions_{split}.tsv", task, table, answers)
    if details := task.details(answers, table):
        report.write_details(folder / "per_label.tsv", details)
    if not task.one_label:
        return
    if mistakes := confusions(task, answers, table):
        report.write_details(folder / "confusions.tsv", mistakes)


def _closing(task: Task, metrics: dict[str, Any]) -> list[tuple[str, str]]:
    short, title = ("test", "test") if "test_samples" in metrics else ("eval", "validation")
    rows = [
        (f"{title} {name.replace('_', ' ')}", f"{metrics[f'{short}_{name}']:.4f}")
        for name in shown_metrics(task)
        if f"{short}_{name}" in metrics
    ]
    seconds, speed = metrics.get("train_runtime", 0), metrics.get("train_samples_per_second", 0)
    padding = f"{metrics['padding']:.1%} of the tokens" if "padding" in metrics else "not counted"
    size = (
        f"{metrics['adapter_bytes'] / 1000:.0f} kB, {metrics['trainable_parameters']:,} parameters"
    )
    return [
        *rows,
        ("training", f"{seconds:.1f} s, {speed:.0f} examples/s"),
        ("padding", padding),
        ("peak memory", f"{metrics['peak_memory_gb']:.2f} GB"),
        ("file", size),
    ]
