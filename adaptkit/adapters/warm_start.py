"""Warm start: initialize an adapter from one trained for another task on the same base."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import peft
import torch

from adaptkit.adapters.files import read_adapter
from adaptkit.adapters.tensors import adapter_tensors, own_tensors
from adaptkit.adapters.tuner import AdaptConfig
from adaptkit.errors import AdaptkitError
from adaptkit.methods.grammar import describe_method, parse_method
from adaptkit.models.fingerprint import fingerprint
from adaptkit.models.pooled import PooledClassifier
from adaptkit.tasks.sequence import NATIVE


@torch.no_grad()
def warm_start(
    model: peft.PeftModel, folder: str | Path, labels: list[str] | None = None
) -> list[str]:
    """Copy the weights of the adapter in a folder into the active adapter of a model.

    Args:
        model: from `adapt`, with the same method.
        labels: the model's labels; the head is copied only if the stored adapter has the same, and
            reads the same of a text.

    Returns:
        The names of the tensors that stay freshly initialized: those of a new head.

    Raises:
        AdaptkitError: the method or base differs, or the adapter was not made by adaptkit. The
            model is unchanged then.
    """
    name, bare = model.active_adapter, model.get_base_model()
    config, files = model.peft_config[name], read_adapter(folder)
    if files.card is None or not isinstance(config, AdaptConfig):
        raise AdaptkitError(
            "a warm start wants adapters made by adaptkit; "
            f"{folder if files.card is None else 'this one'} is none."
        )
    stored = describe_method(parse_method(files.card.method or ""), full=True)
    if stored != config.method:
        given = f"{folder} was trained with --method '{files.card.method}'"
        raise AdaptkitError(f"{given}, this adapter is '{config.method}': use the same.")
    record = getattr(bare, "adaptkit_base", None)
    files.check_base(
        record.fingerprint if record else fingerprint(bare), record.name if record else ""
    )
    tensors, head = (
        own_tensors(files, bare, parse_method(stored)),
        set(config.modules_to_save or ()),
    )
    slots = adapter_tensors(model, name)
    same_head = (
        bool(labels)
        and labels == files.card.labels
        and _pooling_of(bare) == files.card.settings.get("pooling", NATIVE)
        and all(key in tensors for key in slots)
    )
    fresh = [key for key in slots if any(f".{module}." in key for module in head) and not same_head]
    if missing := [
        key
        for key in slots
        if key not in fresh and (key not in tensors or tensors[key].shape != slots[key].shape)
    ]:
        raise AdaptkitError(f"{folder} lacks {missing[0]} in the shape that this model wants.")
    for key, slot in slots.items():
        if key not in fresh:
            slot.copy_(tensors[key])
    return fresh


def _pooling_of(model: Any) -> str:
    """What a model's head reads of a text."""
    pools = isinstance(model, PooledClassifier)
    return model.config.adaptkit_pooling if pools else NATIVE
