"""`--check`: judge the data before a model is loaded, show what the model will read, then try everything once. Nothing is kept."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from adaptkit.adapter import adapter_tensors, load_adapter
from adaptkit.arguments import RecipeArguments
from adaptkit.base import load_config, load_tokenizer
from adaptkit.choices import choose_attention, choose_base, say_dtype, within_positions
from adaptkit.errors import AdaptkitError
from adaptkit.full import FULL
from adaptkit.judge import Finding, judge_lengths, judge_texts
from adaptkit.launch import say
from adaptkit.predict import predict
from adaptkit.run import Run, encode, new_model, save
from adaptkit.sampling import lengths_of
from adaptkit.start import start
from adaptkit.tasks.base import Task
from adaptkit.training import fit, peak_memory

WHOLE = 10**6  # a length that cuts nothing


def check(task: Task, arguments: RecipeArguments, make_training: Callable[..., Any]) -> None:
    """Say what is good, what should be looked at and what cannot work.

    Raises:
        AdaptkitError: a finding is `fail`, or the adapter came back from disk with other weights.
    """
    try:
        run = start(task, arguments, make_training)
    except AdaptkitError as problem:
        say(f"data:\n{Finding('fail', str(problem))}")
        raise AdaptkitError("the data cannot be used as they are; see above.") from problem
    with tempfile.TemporaryDirectory() as folder:
        run.output_dir = Path(folder) / "run"
        choose_base(run, Path(folder) / "base")
        run.tokenizer = load_tokenizer(run.base, arguments.model_revision)
        config = load_config(run.base, arguments.model_revision)
        run.max_length = within_positions(run.max_length, config, run.tokenizer)
        encode(run)
        findings = _judge(run)
        say("data:")
        for finding in findings:
            say(str(finding))
        say("examples, as the model reads them; tokens in brackets carry loss:")
        for row in run.parts["train"].encoded.select(range(min(3, len(run.parts["train"].encoded)))):
            say(f"  {run.task.render(_with_labels(run, row), run.tokenizer)}")
        if any(finding.verdict == "fail" for finding in findings):
            raise AdaptkitError("a finding is 'fail'; see above. Nothing was trained.")
        for line in estimate(run, config):
            say(line)
        _try_once(run, Path(folder))


def _judge(run: Run) -> list[Finding]:
    task = run.task
    findings = task.findings(run.splits) + judge_texts(task, run.splits)
    if task.long_texts != "are cut into blocks":
        whole = {name: lengths_of(task.encode(table, run.tokenizer, WHOLE)) for name, table in run.splits.items()}
        findings += judge_lengths(task, whole, run.max_length)
    for name, table in run.splits.items():
        encoded = task.encode(table, run.tokenizer, run.max_length)
        findings += [dataclasses.replace(finding, text=f"{name}: {finding.text}") for finding in task.lost(encoded, table)]
    findings += [Finding("good", f"{name} {value:.4f}") for name, value in _baselines(run).items()]
    return findings


def _baselines(run: Run) -> dict[str, float]:
    return run.task.baseline(run.splits.train, run.splits.validation) if run.splits.validation else {}


def _with_labels(run: Run, row: dict[str, Any]) -> dict[str, Any]:
    """A training row as a batch holds it: some tasks hide tokens only there."""
    if "labels" in row:
        return row
    batch = run.task.collator(run.tokenizer)([row])
    return {name: batch[name][0].tolist() for name in ("input_ids", "labels")}


def estimate(run: Run, config: Any) -> list[str]:
    """Memory and time of the whole run, before a model is loaded. Rough: it is to tell minutes from hours.

    Memory: weights, and what the backward pass keeps of a batch (some 20 hidden states and the attention's scores a layer).
    Time: 6 operations a weight and token for training (4 over a frozen base), at a third of the speed of a matrix product here.
    """
    import transformers

    with torch.device("meta"):
        model = getattr(transformers, run.task.auto_class).from_config(config)
    weights = sum(parameter.numel() for parameter in model.parameters())
    dense = sum(p.numel() for name, p in model.named_parameters() if p.dim() == 2 and "embed" not in name)
    full = run.arguments.method == FULL
    size = 2 if run.training.bf16 or run.training.fp16 else 4
    lengths = lengths_of(run.parts["train"].encoded)
    rows, tokens = run.training.per_device_train_batch_size * run.task.inputs_per_row, sorted(lengths)[int(0.95 * len(lengths))]
    layers, hidden = (getattr(config, name, None) or 1 for name in ("num_hidden_layers", "hidden_size"))
    heads = getattr(config, "num_attention_heads", None) or 1
    kept = rows * tokens * layers * (20 * hidden + 2 * heads * tokens) * size
    memory = (weights * (16 if full else 4) + kept) / 1e9
    work = (6 if full else 4) * dense * sum(lengths) * run.task.inputs_per_row * run.training.num_train_epochs
    seconds = work / (_matrix_speed(torch.bfloat16 if size == 2 else torch.float32, run.training.device) / 3)
    return [
        f"estimate: {weights / 1e6:.1f} M parameters, about {max(memory, 0.05):.1f} GB beside the program itself, "
        f"about {_duration(seconds)} for {run.training.num_train_epochs:g} epochs"
    ]


def _matrix_speed(dtype: torch.dtype, device: torch.device) -> float:
    """Operations a second of a matrix product there."""
    one = torch.ones(512, 512, dtype=dtype, device=device)
    float((one @ one)[0, 0])
    began, count = time.perf_counter(), 10
    for _ in range(count):
        out = one @ one
    float(out[0, 0])
    return count * 2 * 512**3 / max(time.perf_counter() - began, 1e-9)


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _try_once(run: Run, folder: Path) -> None:
    """One training step, one evaluation batch, one save and load."""
    choose_attention(run, load_config(run.base, run.arguments.model_revision))
    run.model = new_model(run, run.arguments.method)
    say_dtype(run)
    few = {name: part.first(64) for name, part in run.parts.items()}
    once = dataclasses.replace(
        run.training,
        **{"output_dir": str(folder), "max_steps": 1, "save_strategy": "no", "load_best_model_at_end": False},
        **{"eval_strategy": "no", "resume_from_checkpoint": None, "disable_tqdm": True, "report_to": "none"},
    )
    seconds = fit(run.model, run.task, few["train"], few.get("validation"), run.tokenizer, once).metrics["train_runtime"]
    outputs = predict(run.model, run.task, few.get("validation", few["train"]).encoded, run.tokenizer)
    say(f"one training step took {seconds:.1f} s, one evaluation gave outputs {outputs.shape}; {peak_memory():.2f} GB used at most")
    save(run, folder / "adapter", {})
    if run.arguments.method != FULL:
        _compare(run, folder / "adapter")
        say("one save and load gave the same weights")
    say(f"a whole run is {_steps(run)} steps; nothing was kept")


def _steps(run: Run) -> int:
    """Optimizer steps of the whole run."""
    training = run.training
    if training.max_steps > 0:
        return training.max_steps
    rows = training.train_batch_size * training.gradient_accumulation_steps * training.world_size
    return round(-(-len(run.parts["train"].encoded) // rows) * training.num_train_epochs)


def _compare(run: Run, folder: Path) -> None:
    before = {key: tensor.detach().clone() for key, tensor in adapter_tensors(run.model, "default").items()}
    again = load_adapter(folder, quantize=run.arguments.quantize, dtype=run.arguments.dtype)
    after = adapter_tensors(again, "default")
    if any(not tensor.equal(after[key].to(tensor.dtype)) for key, tensor in before.items()):
        raise AdaptkitError("the adapter came back from disk with other weights; please report this.")
