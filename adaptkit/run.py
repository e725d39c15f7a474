"""The road that every recipe takes: data, base, adapter, training, reports. Tasks fill the steps."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adaptkit import report
from adaptkit.adapter import save_adapter
from adaptkit.arguments import RecipeArguments
from adaptkit.augment import Augmentation, augment, read_synonyms
from adaptkit.base import align_padding, load_base, load_config, load_tokenizer
from adaptkit.cards import WEIGHTS, TaskCard, read_card
from adaptkit.choices import choose_attention, choose_base, choose_trunk, say_dtype, within_positions
from adaptkit.confusions import confusions
from adaptkit.fastest import keep_choice
from adaptkit.full import FULL, MODEL, save_full, unfreeze
from adaptkit.kept import Kept
from adaptkit.launch import IS_MAIN, say
from adaptkit.methods import PRESETS
from adaptkit.predict import predict
from adaptkit.tables import Splits
from adaptkit.tasks.base import Task
from adaptkit.trainer import Extras, Part, bare_model
from adaptkit.training import Fit, fit
from adaptkit.tuner import adapt


@dataclass
class Run:
    """One run of a recipe: what was asked for, and what there is so far. `splits`: checked rows."""

    task: Task
    arguments: RecipeArguments
    training: Any  # transformers.TrainingArguments
    splits: Splits
    output_dir: Path
    base: str = ""
    tokenizer: Any = None
    model: Any = None
    parts: dict[str, Part] = field(default_factory=dict)
    max_length: int = 128
    attention: dict[str, str] = field(default_factory=dict)  # which one trains, and why; empty: the model's own choice
    kept: Kept | None = None  # what the frozen trunk gave; shared by the runs of a series or a search

    def extras(self) -> Extras:
        given = self.arguments
        return Extras(
            early_stopping_patience=given.early_stopping_patience,
            adversarial_epsilon=given.adversarial_epsilon,
            half_base=given.dtype == "auto",
            kept=self.kept,
            cut_last_layer=not given.whole_last_layer,
            cuda_graphs=given.cuda_graphs,
            layerwise_lr_decay=given.layerwise_lr_decay,
            l2_sp=given.l2_sp,
            gradual_unfreezing=given.gradual_unfreezing,
        )


def train_whole(run: Run) -> dict[str, Any]:
    """Load, train, evaluate, save, report. Returns the content of `all_results.json`."""
    load(run)
    return finish(run, train(run))


def load(run: Run) -> None:
    """Load the base with the task's head, inject the adapter, encode the rows."""
    choose_base(run, run.output_dir / "base")
    run.tokenizer = load_tokenizer(run.base, run.arguments.model_revision)
    config = load_config(run.base, run.arguments.model_revision)
    run.max_length = within_positions(run.max_length, config, run.tokenizer)
    if not run.parts:  # a search has encoded them already
        encode(run)
    choose_attention(run, config)
    run.model = new_model(run, run.arguments.method)
    say_dtype(run)
    choose_trunk(run)
    trained = sum(parameter.numel() for parameter in run.model.parameters() if parameter.requires_grad)
    everything = sum(parameter.numel() for parameter in run.model.parameters())
    say(f"base {run.base}, method {PRESETS.get(run.arguments.method, run.arguments.method)}")
    say(f"training {trained:,} of {everything:,} parameters ({trained / everything:.2%}) on {len(run.splits.train)} rows")


def new_model(run: Run, method: str) -> Any:
    """The base with the task's head and a fresh adapter; the same one for the same seed."""
    from transformers import set_seed

    arguments = run.arguments
    plain = "eager" if run.attention.get("attention") == "eager" else None  # sdpa is the own choice of every model that has it
    set_seed(run.training.seed)
    full = method == FULL
    what = arguments.train if arguments.train != "adapter" else FULL
    base = load_base(
        run.base,
        task=run.task.auto_class,
        labels=run.task.labels or None,
        quantize=arguments.quantize,
        dtype=arguments.dtype,
        revision=arguments.model_revision,
        attn_implementation=arguments.attn_implementation or plain,
        base_dropout=arguments.base_dropout or (full and what == FULL),
    )
    align_padding(base, run.tokenizer)
    model = unfreeze(base, what) if full else adapt(base, method)
    if arguments.fuse:
        from adaptkit.transfer.fuse import fill

        fill(model, arguments.fuse)
    if arguments.warm_start:
        from adaptkit.transfer.warm import warm_start

        fresh = warm_start(model, arguments.warm_start, run.task.labels)
        say(f"warm start from {arguments.warm_start}" + (f"; its head is left aside ({len(fresh)} tensors)" if fresh else ""))
    run.task.suits(bare_model(model))
    return model


def encode(run: Run) -> None:
    """The splits as the model reads them; training rows with their changed copies."""
    arguments = run.arguments
    how = Augmentation(
        arguments.augment_copies, arguments.word_dropout, arguments.word_swap, synonyms=read_synonyms(arguments.synonym_file)
    )
    for name, table in run.splits.items():
        training = name == "train"
        table = augment(run.task, table, how, run.training.seed) if training else table
        run.parts[name] = Part(table, run.task.encode(table, run.tokenizer, run.max_length, train=training))


def train(run: Run) -> Fit:
    """Train; afterwards the model holds its best epoch, or its last where none was judged."""
    if IS_MAIN and run.attention:
        keep_choice(run.output_dir, run.attention)
    return fit(run.model, run.task, run.parts["train"], run.parts.get("validation"), run.tokenizer, run.training, run.extras())


def finish(run: Run, fitted: Fit) -> dict[str, Any]:
    """Evaluate, save, write every report, print the closing table. Main process only.

    Returns:
        The content of `all_results.json`; empty on the other processes.
    """
    if not IS_MAIN:
        return {}
    metrics: dict[str, Any] = dict(fitted.metrics)
    judged = {split: short for split, short in (("validation", "eval"), ("test", "test")) if split in run.parts}
    shown = list(judged)[-1] if judged else "train"
    answers: list[dict[str, Any]] = []
    for split, short in judged.items():
        answers = _evaluate(run, split, short, metrics, write=split == shown)
    table = run.parts[shown].table.take(range(len(answers)))
    metrics["trainable_parameters"] = sum(p.numel() for p in run.model.parameters() if p.requires_grad)
    save(run, run.output_dir, metrics)
    file = run.output_dir / (MODEL if run.arguments.method == FULL else WEIGHTS)
    metrics["adapter_bytes"] = sum(path.stat().st_size for path in run.output_dir.glob(f"{file.stem}*.safetensors"))
    _write_reports(run, fitted, metrics, shown, table, answers)
    say(f"\nsaved to {run.output_dir}\n{report.closing_table(_closing(run.task, metrics))}")
    return metrics


def _evaluate(run: Run, split: str, short: str, metrics: dict[str, Any], write: bool) -> list[dict[str, Any]]:
    """Put the metrics of a split into `metrics`; the answers, which generating tasks give only with `write`."""
    task, part = run.task, run.parts[split]
    began = time.perf_counter()
    outputs = predict(run.model, task, part.encoded, run.tokenizer, run.training.per_device_eval_batch_size, title=split)
    seconds = time.perf_counter() - began
    found = task.metrics(outputs, part.encoded, part.table)
    if not task.generates:
        answers = task.decode(outputs, part.encoded, part.table) if task.answers else []
    else:
        most = getattr(task, "num_generated", 0) or len(part.table)
        table = part.table.take(range(min(len(part.table), most) if write else 0))
        answers = task.generate(run.model.eval(), table, run.tokenizer, run.max_length, 16) if len(table) else []
        if answers:
            found |= task.score(answers, table)
            found |= {"generated_samples": len(answers)}
    found |= task.baseline(run.splits.train, part.table)
    if task.base_knows and run.arguments.method != FULL and not bare_model(run.model).adaptkit_base.head:
        with run.model.disable_adapter():
            frozen = predict(run.model, task, part.encoded, run.tokenizer, run.training.per_device_eval_batch_size, title=split)
        found[f"base_{task.best_metric}"] = task.metrics(frozen, part.encoded, part.table)[task.best_metric]
    metrics |= {f"{short}_{name}": value for name, value in found.items()}
    metrics |= {f"{short}_samples": len(part.table), f"{short}_samples_per_second": round(len(part.table) / seconds, 2)}
    return answers


def save(run: Run, folder: Path, metrics: dict[str, Any]) -> None:
    """The adapter with its card, or the whole model."""
    scores = {name: value for name, value in metrics.items() if name.startswith(("eval_", "test_")) and isinstance(value, float)}
    task = run.task
    card = TaskCard(
        task=task.name,
        labels=task.labels,
        columns={part: column for part in task.parts if (column := task.column(part))},
        settings=task.settings(),
        max_length=run.max_length,
        metrics=scores,
    )
    if run.arguments.method == FULL:
        save_full(run.model, run.tokenizer, folder, card)
    else:
        save_adapter(run.model, folder, card=card)


def _write_reports(run: Run, fitted: Fit, metrics: dict[str, Any], split: str, table, answers) -> None:
    folder, task = run.output_dir, run.task
    report.write_results(folder, metrics)
    if answers:
        report.write_predictions(folder / f"predictions_{split}.tsv", task, table, answers)
        if details := task.details(answers, table):
            report.write_details(folder / "per_label.tsv", details)
        if task.one_label:
            mistakes = confusions(task, answers, table)
            report.write_details(folder / "confusions.tsv", mistakes) if mistakes else (folder / "confusions.tsv").unlink(True)
    names = ("learning_rate", "num_train_epochs", "train_batch_size", "warmup_steps", "weight_decay")
    names += ("load_best_model_at_end", "seed", "bf16")
    settings = {name: getattr(run.training, name) for name in names}
    settings |= {"quantize": run.arguments.quantize} if run.arguments.quantize else {}
    sizes = {name: len(part) for name, part in run.splits.items()}
    report.write_model_card(folder, task, read_card(folder), metrics, settings, sizes)
    curves = report.draw_curves(folder / "curves.png", fitted.history, task.best_metric)
    report.draw_or_say([curves, *(task.pictures(folder, answers, table) if answers else [])])


def _closing(task: Task, metrics: dict[str, Any]) -> list[tuple[str, str]]:
    short, title = ("test", "test") if "test_samples" in metrics else ("eval", "validation")
    rows = [
        (f"{title} {name.replace('_', ' ')}", f"{metrics[f'{short}_{name}']:.4f}")
        for name in task.reported
        if f"{short}_{name}" in metrics
    ]
    return [
        *rows,
        ("training", f"{metrics.get('train_runtime', 0):.1f} s, {metrics.get('train_samples_per_second', 0):.0f} examples/s"),
        ("padding", f"{metrics['padding']:.1%} of the tokens" if "padding" in metrics else "not counted"),
        ("peak memory", f"{metrics['peak_memory_gb']:.2f} GB"),
        ("file", f"{metrics['adapter_bytes'] / 1000:.0f} kB, {metrics['trainable_parameters']:,} parameters"),
    ]
