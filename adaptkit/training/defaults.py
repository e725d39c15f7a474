"""Training defaults, which depend on the machine, the number of rows and the method."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from adaptkit.utils.hardware import emulates, has_instructions, only_cpu

if TYPE_CHECKING:
    from transformers import TrainingArguments

# adaptkit's defaults where Trainer's would hurt adapters; each can be set on the command line.
DEFAULTS: dict[str, Any] = {
    "num_train_epochs": 3,
    "per_device_train_batch_size": 32,
    "per_device_eval_batch_size": 64,
    "warmup_steps": 0.06,  # below 1: a share of all steps
    "weight_decay": 0.01,
    "eval_strategy": "epoch",
    "save_strategy": "epoch",
    "save_total_limit": 1,
    "load_best_model_at_end": True,
    "logging_steps": 10,
    "logging_nan_inf_filter": False,  # a bad step must be visible
    "train_sampling_strategy": "group_by_length",
    "ddp_find_unused_parameters": False,
    "report_to": "none",
}

FROM_NOTHING = 1e-3  # learning rate of models without pretrained weights

FULL_RATE = 5e-5  # for full fine-tuning of a pretrained model, or of upper layers
LAYERS_RATE = 1e-4  # for full training of a shallower network that starts with pretrained layers

PART_RATES = {"head": 1e-3, "norms": 1e-3, "biases": 1e-3}  # for small parts of a model


def machine_defaults() -> dict[str, Any]:
    """bf16 if the machine computes in it, and the CPU if there is no GPU."""
    if only_cpu():
        return {"use_cpu": True, "bf16": has_instructions(torch.bfloat16)}
    return {"bf16": torch.cuda.is_bf16_supported()} if torch.cuda.is_available() else {}


def training_arguments(
    output_dir: str | Path,
    *,
    train: int,
    validation: int = 0,
    method: str = "lora",
    **settings: Any,
) -> TrainingArguments:
    """Trainer's arguments as a recipe chooses them for this machine, method and number of rows.

    Args:
        train, validation: rows. Without validation rows no epoch is evaluated; with few, the last
            one is kept.
        method: decides the learning rate; in the method grammar.
        settings: any of `transformers.TrainingArguments`, instead of the defaults.
    """
    from transformers import TrainingArguments

    by_data, _ = data_defaults(train, validation, given=settings)
    defaults = DEFAULTS | machine_defaults() | by_data | {"learning_rate": learning_rate(method)}
    return TrainingArguments(**(defaults | settings | {"output_dir": str(output_dir)}))


def machine_notes(training: TrainingArguments) -> list[str]:
    """What a user should know about the settings on this machine."""
    if training.use_cpu and training.bf16 and emulates(torch.bfloat16):
        return [
            "this CPU has no instructions for bf16 (AVX512-bf16, AMX): --bf16 takes many times "
            "as long as fp32 here"
        ]
    return []


# Validation rows needed to tell epochs apart: below, the standard error of an accuracy is 3 to 5
# points or more.
ENOUGH = 100


FEW_STEPS = 300  # below, rows are few
PROBED_ROWS = (
    640  # seen in training, repeats included, by an adapter whose head starts from a probe
)
PAIRS = 240  # seen in training, repeats included, if there are fewer
HEAD_FACTOR = 2  # on the learning rate of such a head, with few rows


def data_defaults(
    train: int,
    validation: int,
    choose: bool = False,
    given: Collection[str] = frozenset(),
    probed: bool = False,
    pretrained: bool = False,
) -> tuple[dict[str, Any], list[str]]:
    """Defaults for few rows (batch size, epochs, best or last epoch), with notes that explain them.

    Args:
        train, validation: rows.
        choose: keep the best epoch if there are any validation rows, however few.
        given: the flags that the user set, which override these defaults.
        probed: the head of a text classifier starts from a probe.
        pretrained: nothing but the adapter is new, as where a language model goes on writing.
    """
    found: dict[str, Any] = {} if pretrained else small_data_defaults(train, probed)
    notes = []
    words = {"per_device_train_batch_size": "batches of {}", "num_train_epochs": "{} epochs"}
    shown = [words[name].format(found[name]) for name in words if name in found.keys() - given]
    if shown:
        notes.append(f"{train} training rows are few: by default {' and '.join(shown)}")
    if not validation:
        found |= {"eval_strategy": "no", "load_best_model_at_end": False}
        notes.append(
            "no validation rows: no epoch is evaluated while training, and the last one is kept"
        )
    elif validation < ENOUGH and not choose:
        found["load_best_model_at_end"] = False
        if "load_best_model_at_end" not in given:
            notes.append(
                f"{validation} validation rows are too few to choose an epoch by: by default the "
                "last one is kept"
            )
    return found, notes


def small_data_defaults(rows: int, probed: bool = False) -> dict[str, int]:
    """Smaller batches and more epochs for few rows; empty with enough.

    A random head needs some hundred steps. One that starts from a probe is nearly there: beside it,
    an adapter that sees 32 or 128 rows for much longer learns them by heart. See "Few
    rows and a probe" in docs/architecture.md.
    """
    if rows >= FEW_STEPS * DEFAULTS["per_device_train_batch_size"] / DEFAULTS["num_train_epochs"]:
        return {}
    if probed:
        epochs = min(40, max(10, round(640 / rows)), max(4, round(10_000 / rows)))
        return {
            "per_device_train_batch_size": 16,
            "num_train_epochs": epochs,
            "logging_steps": min(DEFAULTS["logging_steps"], -(-rows // 16)),  # once an epoch
        }
    batch = 8 if rows < 1000 else 16
    epochs = min(15, max(3, round(FEW_STEPS * batch / rows)))
    return {"per_device_train_batch_size": batch, "num_train_epochs": epochs}


def few_pairs(rows: int, notes: list[str]) -> dict[str, int]:
    """More epochs for few preferences, of which one would be a few steps; a note that says so."""
    epochs = min(10, round(PAIRS / max(rows, 1)))
    if epochs <= 1:
        return {}
    notes.append(f"{rows} pairs are few: by default {epochs} epochs")
    return {"num_train_epochs": epochs}


def learning_rate(method: str) -> float:
    """The default learning rate of a method: the lowest of its parts.

    1e-3 for PEFT's own methods, 5e-5 for full fine-tuning.
    """
    from adaptkit.methods.grammar import parse_method

    if method in PART_RATES:
        return PART_RATES[method]
    if method == "full" or method.startswith("last["):
        return FULL_RATE
    if method.startswith("peft:"):
        return 1e-3
    return min(part.learning_rate for part in parse_method(method))
