"""`--check`: check the data, show what the model will read, then try every step once.

The data is checked before a model is loaded. Nothing is kept.
"""

from __future__ import annotations

import dataclasses
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from adaptkit.adapters.full import FULL
from adaptkit.adapters.save_load import load_adapter
from adaptkit.adapters.tensors import adapter_tensors
from adaptkit.errors import AdaptkitError
from adaptkit.inference.predict import predict
from adaptkit.models.pooled import find_class
from adaptkit.recipe.data_checks import check_data
from adaptkit.recipe.encode import encode
from adaptkit.recipe.finish import save
from adaptkit.recipe.load import load
from adaptkit.recipe.parser import Parsed
from adaptkit.recipe.prepare import prepare
from adaptkit.recipe.steps import Encoded, Loaded
from adaptkit.tasks.finding import Finding
from adaptkit.training.fit import fit
from adaptkit.training.options import TrainerOptions
from adaptkit.utils.hardware import peak_memory
from adaptkit.utils.processes import log_main


def dry_run(parsed: Parsed) -> None:
    """Print what is good, what to look at, and what cannot work.

    Raises:
        AdaptkitError: a finding is `fail`, or the adapter has other weights after save and load.
    """
    try:
        prepared = prepare(parsed)
    except AdaptkitError as problem:
        log_main(f"rows and flags:\n{Finding('fail', str(problem))}")
        raise AdaptkitError("these cannot be used as they are; see above.") from problem
    with tempfile.TemporaryDirectory() as folder:
        prepared = dataclasses.replace(prepared, output_dir=Path(folder) / "run")
        encoded = encode(prepared, Path(folder) / "base")
        findings = check_data(encoded)
        log_main("data:")
        for finding in findings:
            log_main(str(finding))
        _show_examples(encoded)
        if any(finding.severity == "fail" for finding in findings):
            raise AdaptkitError("a finding is 'fail'; see above. Nothing was trained.")
        log_main(estimate(encoded))
        _try_once(encoded, Path(folder))


def _show_examples(encoded: Encoded) -> None:
    log_main("examples, as the model reads them; tokens in brackets carry loss:")
    rows = encoded.splits["train"].encoded
    for row in rows.select(range(min(3, len(rows)))):
        shown = encoded.prepared.task.render(_with_labels(encoded, row), encoded.tokenizer)
        log_main(f"  {shown}")


def _with_labels(encoded: Encoded, row: dict[str, Any]) -> dict[str, Any]:
    """A training row as a batch holds it: some tasks mask tokens only there."""
    if "labels" in row:
        return row
    batch = encoded.prepared.task.collator(encoded.tokenizer)([row])
    return {name: batch[name][0].tolist() for name in ("input_ids", "labels")}


def estimate(encoded: Encoded) -> str:
    """Estimate memory and time of the whole training before a model is loaded.

    A rough estimate, to tell minutes from hours. Memory: weights, and what the backward pass keeps
    of a batch (some 20 hidden states and the attention scores per layer). Time: 6 operations per
    weight and token for training (4 over a frozen base), at a sixth to a half of the speed of a
    matrix product on this machine.
    """
    task, training, config = encoded.prepared.task, encoded.prepared.training, encoded.config
    with torch.device("meta"):
        model = find_class(task.auto_class).from_config(config)
    weights = sum(parameter.numel() for parameter in model.parameters())
    matrices = (p for name, p in model.named_parameters() if p.dim() == 2 and "embed" not in name)
    dense = sum(parameter.numel() for parameter in matrices)
    full = encoded.prepared.arguments.method == FULL
    size = 2 if training.bf16 or training.fp16 else 4
    lengths = encoded.lengths()
    rows = training.per_device_train_batch_size * task.inputs_per_row
    tokens = sorted(lengths)[int(0.95 * len(lengths))]
    names = ("num_hidden_layers", "hidden_size", "num_attention_heads")
    layers, hidden, heads = (getattr(config, name, None) or 1 for name in names)
    kept = rows * tokens * layers * (20 * hidden + 2 * heads * tokens) * size
    memory = (weights * (16 if full else 4) + kept) / 1e9
    epochs = _epochs(encoded)
    work = (6 if full else 4) * dense * sum(lengths) * task.inputs_per_row * epochs
    seconds = work / _matrix_speed(torch.bfloat16 if size == 2 else torch.float32, training.device)
    between = f"{_duration(2 * seconds)} to {_duration(6 * seconds)}"
    return (
        f"estimate: {weights / 1e6:.1f} M parameters, about {max(memory, 0.05):.1f} GB beside "
        "the program itself, "
        f"{between} for {epochs:.3g} epochs, by the machine's load"
    )


def _matrix_speed(dtype: torch.dtype, device: torch.device, rounds: int = 5) -> float:
    """Operations per second of a matrix product: the best of some rounds, the least disturbed."""
    one = torch.ones(512, 512, dtype=dtype, device=device)
    float((one @ one)[0, 0])
    best, count = float("inf"), 10
    for _ in range(rounds):
        began = time.perf_counter()
        for _ in range(count):
            out = one @ one
        float(out[0, 0])
        best = min(best, time.perf_counter() - began)
    return count * 2 * 512**3 / max(best, 1e-9)


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _try_once(encoded: Encoded, folder: Path) -> None:
    """Run one training step, one evaluation batch, one save and one load."""
    prepared, tokenizer = encoded.prepared, encoded.tokenizer
    no_cache = dataclasses.replace(prepared.arguments, frozen_trunk="off")
    encoded = dataclasses.replace(
        encoded, prepared=dataclasses.replace(prepared, arguments=no_cache)
    )
    loaded = load(encoded)
    few = {name: split.first(64) for name, split in encoded.splits.items()}
    once = dataclasses.replace(
        prepared.training,
        output_dir=str(folder),
        max_steps=1,
        save_strategy="no",
        load_best_model_at_end=False,
        eval_strategy="no",
        resume_from_checkpoint=None,
        disable_tqdm=True,
        report_to="none",
    )
    validation, quiet = few.get("validation"), TrainerOptions(progress=False)
    output = fit(loaded.model, prepared.task, few["train"], validation, tokenizer, once, quiet)
    if output.stopped:
        raise SystemExit(output.stopped.exit_code)
    rows = (validation or few["train"]).encoded
    outputs = predict(loaded.model, prepared.task, rows, tokenizer)
    log_main(
        f"one training step took {output.metrics['train_runtime']:.1f} s, one evaluation gave "
        "outputs "
        f"{outputs.shape}; {peak_memory():.2f} GB used at most"
    )
    save(loaded, folder / "adapter", {})
    if prepared.arguments.method != FULL:
        _compare(loaded, folder / "adapter")
        log_main("one save and load gave the same weights")
    log_main(f"the whole training has {_steps(encoded)} steps; nothing was kept")


def _steps(encoded: Encoded) -> int:
    """Optimizer steps of the whole training."""
    training = encoded.prepared.training
    if training.max_steps > 0:
        return training.max_steps
    rows = training.train_batch_size * training.gradient_accumulation_steps * training.world_size
    return round(-(-_rows(encoded) // rows) * training.num_train_epochs)


def _epochs(encoded: Encoded) -> float:
    """Epochs of the whole training, which --max_steps may end."""
    training = encoded.prepared.training
    if training.max_steps <= 0:
        return training.num_train_epochs
    rows = training.train_batch_size * training.gradient_accumulation_steps * training.world_size
    return training.max_steps * rows / _rows(encoded)


def _rows(encoded: Encoded) -> int:
    """The rows of an epoch as Trainer counts them: pairs are one."""
    task, rows = encoded.prepared.task, len(encoded.splits["train"].encoded)
    return rows // 2 if task.compares else rows


def _compare(loaded: Loaded, folder: Path) -> None:
    arguments = loaded.prepared.arguments
    before = {
        key: tensor.detach().clone()
        for key, tensor in adapter_tensors(loaded.model, "default").items()
    }
    again = load_adapter(folder, quantize=arguments.quantize, dtype=arguments.dtype)
    after = adapter_tensors(again, "default")
    if any(not tensor.equal(after[key].to(tensor.dtype)) for key, tensor in before.items()):
        raise AdaptkitError(
            "the adapter came back from disk with other weights; please report this."
        )
