"""What a checkpoint was trained with, so that a run with other settings does not go on from it.

Trainer restores the optimizer, its rates and the place in the rows from a checkpoint, and does not
look whether the flags still say the same.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from adaptkit.errors import AdaptkitError
from adaptkit.models.backbone import bare_model
from adaptkit.models.load import dropouts_of
from adaptkit.tasks.base import Task
from adaptkit.training.options import EncodedSplit, TrainerOptions
from adaptkit.utils.json_files import read_json

FILE = "adaptkit_run.json"

# What a checkpoint replaces or what its place in the rows depends on: other values would not count.
SAME = (
    *("learning_rate", "lr_scheduler_type", "lr_scheduler_kwargs", "warmup_steps"),
    *("weight_decay", "optim", "optim_args"),
    *("adam_beta1", "adam_beta2", "adam_epsilon", "seed", "data_seed", "train_sampling_strategy"),
)
SAME_OPTIONS = (
    *("head_learning_rate", "lora_plus_ratio"),
    *("layerwise_lr_decay", "gradual_unfreezing"),
)
# What counts from the next step on, if it changes.
MAY_CHANGE = (
    *("num_train_epochs", "max_steps", "label_smoothing_factor", "max_grad_norm"),
    *("neftune_noise_alpha", "bf16", "fp16"),
)
MAY_CHANGE_OPTIONS = ("adversarial_epsilon", "l2_sp")
MOST_SHOWN, MOST_NAMED = 70, 8  # characters of a value in a message, and settings


def run_record(
    model: Any,
    tasks: Sequence[Task],
    train: Sequence[EncodedSplit],
    validation: Sequence[EncodedSplit | None],
    args: Any,
    options: TrainerOptions,
) -> dict[str, Any]:
    """The settings of a run by name, as in JSON.

    Returns:
        `started`, `same` (must be equal to go on) and `may_change`.
    """
    base = getattr(bare_model(model), "adaptkit_base", None)
    same: dict[str, Any] = {
        "base": getattr(base, "fingerprint", None),
        "--quantize": getattr(base, "quantize", None),
        "--base_dropout": dropouts_of(bare_model(model).config),
        "--method": _method(model),
        "trained parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "tasks": [task.name for task in tasks],
        "labels": [task.labels for task in tasks],
        "settings of the task": [task.settings() for task in tasks],
        "training rows": [_rows(split) for split in train],
        "rows in a step": args.train_batch_size
        * args.gradient_accumulation_steps
        * args.world_size,
    }
    same |= {f"--{name}": _plain(getattr(args, name)) for name in SAME}
    same |= {f"--{name}": getattr(options, name) for name in SAME_OPTIONS}
    if args.load_best_model_at_end:
        same["--metric_for_best_model"] = args.metric_for_best_model
        same["validation rows"] = [split and _rows(split) for split in validation]
    changing = {f"--{name}": _plain(getattr(args, name)) for name in MAY_CHANGE}
    changing |= {f"--{name}": getattr(options, name) for name in MAY_CHANGE_OPTIONS}
    record = {"started": time.time(), "same": same, "may_change": changing}
    return json.loads(json.dumps(record, default=str))


def check_same_run(checkpoint: Path, record: dict[str, Any]) -> list[str]:
    """Notes on what changes from here on.

    Raises:
        AdaptkitError: names what differs from the run that wrote the checkpoint.
    """
    if not (checkpoint / FILE).is_file():
        return [f"{checkpoint} does not say what it was trained with; the same flags are assumed"]
    then = read_json(checkpoint / FILE)
    differing = _differences(then.get("same", {}), record["same"])
    if differing:
        more = len(differing) - MOST_NAMED
        shown = [*differing[:MOST_NAMED], *([f"and {more} more"] if more > 0 else [])]
        raise AdaptkitError(
            f"--resume_from_checkpoint {checkpoint}: that run had other settings:\n  "
            + "\n  ".join(shown)
            + "\nGive the same ones to go on, or another --output_dir to begin anew."
        )
    changed = _differences(then.get("may_change", {}), record["may_change"])
    return [f"from here on {one}" for one in changed]


def started(checkpoint: Path) -> float:
    """When the run of a checkpoint began, in seconds since 1970; 0 if it does not say."""
    try:
        return float(read_json(checkpoint / FILE)["started"])
    except (OSError, AdaptkitError, KeyError, TypeError, ValueError):
        return 0.0


def _differences(then: dict[str, Any], now: dict[str, Any]) -> list[str]:
    return [
        f"{name}: {_shown(then[name])} then, {_shown(value)} now"
        for name, value in now.items()
        if name in then and then[name] != value
    ]


def _shown(value: Any) -> str:
    text = str(value[0] if isinstance(value, list) and len(value) == 1 else value)
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}..."


def _method(model: Any) -> str:
    config = getattr(model, "active_peft_config", None)
    if config is None:
        return "full"
    return getattr(config, "method", None) or f"peft:{config.peft_type.value}"


def _rows(split: EncodedSplit) -> str:
    """The number of rows, and a digest of their contents and of their lengths in tokens."""
    digest = hashlib.blake2b(digest_size=6)
    for row in split.table.rows:
        digest.update(repr(row).encode("utf-8", "surrogatepass"))
    digest.update(repr(split.lengths()).encode())
    return f"{len(split.table)} ({digest.hexdigest()})"


def _plain(value: Any) -> Any:
    """A value of Trainer's arguments as JSON has it."""
    return getattr(value, "value", value)
