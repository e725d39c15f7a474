"""The road that every recipe takes: data, base, adapter, training, reports. Recipes call these steps; tasks fill them."""

from __future__ import annotations

import dataclasses
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adaptkit import judge, report
from adaptkit.adapter import adapter_tensors, load_adapter, save_adapter
from adaptkit.arguments import RecipeArguments
from adaptkit.base import load_base, load_tokenizer
from adaptkit.cards import WEIGHTS, TaskCard, read_card
from adaptkit.data import Splits, load_splits
from adaptkit.errors import AdaptkitError
from adaptkit.launch import start_all_processes
from adaptkit.methods import PRESETS
from adaptkit.predict import predict
from adaptkit.tasks.base import Task
from adaptkit.training import DEFAULTS, Fit, fast_attention, fit, learning_rate, machine_defaults, small_data_defaults
from adaptkit.tuner import adapt

IS_MAIN = int(os.environ.get("RANK", "0")) == 0


@dataclass
class Run:
    """One run of a recipe: what was asked for, and what there is so far."""

    task: Task
    arguments: RecipeArguments
    training: Any  # transformers.TrainingArguments
    columns: dict[str, str]
    splits: Splits
    labels: list[str]
    output_dir: Path
    tokenizer: Any = None
    model: Any = None
    encoded: dict[str, Any] = dataclasses.field(default_factory=dict)


def say(text: str = "") -> None:
    """Print on the main process only."""
    if IS_MAIN:
        print(text, flush=True)


def start(task: Task, arguments: RecipeArguments, make_training: Callable[..., Any], columns: dict[str, str]) -> Run:
    """Check the flags, read and judge the data. Nothing is written and no model is loaded yet."""
    start_all_processes()
    if arguments.max_seq_length < 4:
        raise AdaptkitError(f"--max_seq_length {arguments.max_seq_length} leaves no room for a text.")
    output_dir = Path(arguments.output_dir or f"runs/{task.name}")
    defaults = DEFAULTS | machine_defaults()
    defaults |= {"output_dir": str(output_dir), "learning_rate": learning_rate(arguments.method)}
    training = make_training(**defaults)
    if IS_MAIN and not (arguments.overwrite_output_dir or training.resume_from_checkpoint or arguments.check):
        _refuse_full(output_dir)
    splits = load_splits(
        *(arguments.train_file, arguments.validation_file, arguments.test_file),
        *(arguments.dataset_name, arguments.dataset_config_name),
    )
    splits, labels = task.prepare(splits, columns, training.seed)
    small = small_data_defaults(len(splits.train))
    if small:
        training = make_training(**(defaults | small))
        splits.notes.append(f"{len(splits.train)} training rows are few: defaults of {small}")
    if str(training.resume_from_checkpoint).lower() == "true":
        training.resume_from_checkpoint = True
    for note in splits.notes:
        say(f"note: {note}")
    return Run(task, arguments, training, columns, splits, labels, output_dir)


def load(run: Run) -> None:
    """Load the base with the task's head, inject the adapter, encode the rows."""
    from transformers import set_seed

    arguments = run.arguments
    set_seed(run.training.seed)
    run.tokenizer = load_tokenizer(arguments.model_name_or_path, arguments.model_revision)
    base = load_base(
        arguments.model_name_or_path,
        task=run.task.name,
        labels=run.labels,
        quantize=arguments.quantize,
        dtype=arguments.dtype,
        revision=arguments.model_revision,
        attn_implementation=arguments.attn_implementation or fast_attention(run.training),
        base_dropout=arguments.base_dropout,
    )
    arguments.max_seq_length = _within_positions(arguments.max_seq_length, base.config, run.tokenizer)
    run.model = adapt(base, arguments.method)
    for name, table in run.splits.items():
        run.encoded[name] = run.task.encode(table, run.columns, run.tokenizer, run.labels, arguments.max_seq_length)
    trained, everything = run.model.get_nb_trainable_parameters()
    say(f"base {base.adaptkit_base.name}, method {PRESETS.get(arguments.method, arguments.method)}")
    say(f"training {trained:,} of {everything:,} parameters ({trained / everything:.2%}) on {len(run.splits.train)} rows")


def train(run: Run) -> Fit:
    """Train; afterwards the model holds its best epoch."""
    patience = run.arguments.early_stopping_patience
    return fit(run.model, run.task, run.encoded["train"], run.encoded["validation"], run.tokenizer, run.training, patience)


def finish(run: Run, fitted: Fit) -> dict[str, Any]:
    """Evaluate, save the adapter, write every report, print the closing table. Main process only.

    Returns:
        The content of `all_results.json`; empty on the other processes.
    """
    if not IS_MAIN:
        return {}
    metrics = dict(fitted.metrics)
    outputs = {}
    guess, _ = report.majority(report.gold_labels(run.splits.train, run.columns))
    for split, short in (("validation", "eval"), ("test", "test")):
        if split in run.encoded:
            began = time.perf_counter()
            outputs[split] = predict(run.model, run.encoded[split], run.task.collator(run.tokenizer), title=split)
            seconds = time.perf_counter() - began
            gold = run.encoded[split].with_format("numpy")["labels"][:]
            metrics |= {f"{short}_{name}": value for name, value in run.task.metrics(outputs[split], gold).items()}
            metrics |= {f"{short}_samples": len(gold), f"{short}_samples_per_second": round(len(gold) / seconds, 2)}
            table = dict(run.splits.items())[split]
            metrics[f"{short}_majority_baseline"] = report.gold_labels(table, run.columns).count(guess) / len(table)
    metrics["trainable_parameters"] = run.model.get_nb_trainable_parameters()[0]
    save_adapter(run.model, run.output_dir, card=_card(run, metrics))
    metrics["adapter_bytes"] = (run.output_dir / WEIGHTS).stat().st_size
    _write_reports(run, fitted, metrics, outputs)
    say(f"\nsaved to {run.output_dir}\n{report.closing_table(_closing(metrics))}")
    return metrics


def check(run: Run) -> None:
    """`--check`: judge the data, show three encoded rows, one training step, one save and load. Nothing is kept.

    Raises:
        AdaptkitError: the adapter came back different.
    """
    text_columns = [run.columns[part] for part in ("text", "text_pair") if part in run.columns]
    findings = judge.judge_labels(run.splits, run.columns, run.labels) + judge.judge_texts(run.splits, text_columns)
    whole = {n: run.task.encode(t, run.columns, run.tokenizer, run.labels, 10**6)["length"] for n, t in run.splits.items()}
    findings += judge.judge_lengths({name: list(lengths) for name, lengths in whole.items()}, run.arguments.max_seq_length)
    say("data:")
    for finding in findings:
        say(str(finding))
    say("examples, as the model reads them:")
    for row in run.encoded["train"].select(range(min(3, len(run.encoded["train"])))):
        say(f"  {run.tokenizer.decode(row['input_ids'])}  ->  {run.labels[row['labels']]}")
    with tempfile.TemporaryDirectory() as folder:
        few = {name: data.select(range(min(64, len(data)))) for name, data in run.encoded.items()}
        once = dataclasses.replace(run.training, output_dir=folder, max_steps=1, save_strategy="no", load_best_model_at_end=False)
        once = dataclasses.replace(once, eval_strategy="no", resume_from_checkpoint=None, disable_tqdm=True)
        seconds = fit(run.model, run.task, few["train"], few["validation"], run.tokenizer, once).metrics["train_runtime"]
        outputs = predict(run.model, few["validation"], run.task.collator(run.tokenizer))
        save_adapter(run.model, Path(folder) / "adapter", card=_card(run, {}))
        before = {key: tensor.detach().clone() for key, tensor in adapter_tensors(run.model, "default").items()}
        again = load_adapter(Path(folder) / "adapter", quantize=run.arguments.quantize, dtype=run.arguments.dtype)
        after = adapter_tensors(again, "default")
        if any(not tensor.equal(after[key].to(tensor.dtype)) for key, tensor in before.items()):
            raise AdaptkitError("the adapter came back from disk with other weights; please report this.")
    steps = -(-len(run.splits.train) // run.training.train_batch_size) * run.training.num_train_epochs
    say(
        f"one training step took {seconds:.1f} s, one evaluation gave outputs {outputs.shape}, "
        "one save and load gave the same weights"
    )
    say(f"a whole run is {steps:.0f} steps. Splits checked: {', '.join(run.encoded)}; nothing was kept")


def _within_positions(length: int, config: Any, tokenizer: Any) -> int:
    """A length that the base has positions for."""
    positions = getattr(config, "max_position_embeddings", None) or length
    if config.model_type in ("roberta", "xlm-roberta"):  # the first ones are spent on padding
        positions -= config.pad_token_id + 1
    limit = min(positions, tokenizer.model_max_length)
    if length > limit:
        say(f"note: the base takes {limit} tokens; --max_seq_length {length} is lowered to that")
    return min(length, limit)


def _refuse_full(folder: Path) -> None:
    if folder.is_file():
        raise AdaptkitError(f"--output_dir {folder} is a file.")
    if folder.is_dir() and any(folder.iterdir()):
        raise AdaptkitError(
            f"--output_dir {folder} is not empty; give another one, or --overwrite_output_dir, or --resume_from_checkpoint true "
            "to go on from its last checkpoint."
        )


def _card(run: Run, metrics: dict[str, Any]) -> TaskCard:
    scores = {name: value for name, value in metrics.items() if name.startswith(("eval_", "test_")) and isinstance(value, float)}
    return TaskCard(
        task=run.task.name, labels=run.labels, columns=run.columns, max_length=run.arguments.max_seq_length, metrics=scores
    )


def _write_reports(run: Run, fitted: Fit, metrics: dict[str, Any], outputs: dict[str, Any]) -> None:
    from adaptkit.metrics.classification import confusion

    folder = run.output_dir
    report.write_results(folder, metrics)
    split = "test" if "test" in outputs else "validation"
    table, gold = dict(run.splits.items())[split], run.encoded[split].with_format("numpy")["labels"][:]
    texts = [str(row[run.columns["text"]]) for row in table.rows]
    answers = run.task.decode(outputs[split], run.labels)
    report.write_predictions(folder / f"predictions_{split}.tsv", texts, report.gold_labels(table, run.columns), answers)
    names = ("learning_rate", "num_train_epochs", "train_batch_size", "warmup_steps", "weight_decay", "seed", "bf16")
    settings = {name: getattr(run.training, name) for name in names}
    sizes = {name: len(part) for name, part in run.splits.items()}
    report.write_model_card(folder, read_card(folder), metrics, settings, sizes)
    matrix = confusion(gold, outputs[split].argmax(-1), len(run.labels))
    curves = report.draw_curves(folder / "curves.png", fitted.history, run.task.best_metric)
    report.draw_or_say([curves, report.draw_confusion(folder / "confusion.png", matrix, run.labels)])


def _closing(metrics: dict[str, Any]) -> list[tuple[str, str]]:
    split = "test" if "test_accuracy" in metrics else "eval"
    rows = [
        (f"{'test' if split == 'test' else 'validation'} accuracy", f"{metrics[f'{split}_accuracy']:.4f}"),
        ("majority baseline", f"{metrics[f'{split}_majority_baseline']:.4f}"),
        ("macro F1", f"{metrics[f'{split}_f1']:.4f}"),
        ("training", f"{metrics.get('train_runtime', 0):.1f} s, {metrics.get('train_samples_per_second', 0):.0f} examples/s"),
        ("padding", f"{metrics['padding']:.1%} of the tokens" if "padding" in metrics else "not counted"),
        ("peak memory", f"{metrics['peak_memory_gb']:.2f} GB"),
        ("adapter file", f"{metrics['adapter_bytes'] / 1000:.0f} kB, {metrics['trainable_parameters']:,} parameters"),
    ]
    return rows
