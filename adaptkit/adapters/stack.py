"""Stack stored adapters: each acts on the output of the one before, as in a union."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import torch

from adaptkit.adapters.card import task_of
from adaptkit.adapters.files import AdapterFiles, check_same_base, read_adapter
from adaptkit.adapters.inject import adapt
from adaptkit.adapters.save_load import save_adapter
from adaptkit.adapters.tensors import adapter_tensors, own_tensors
from adaptkit.adapters.tuner import plan
from adaptkit.errors import AdaptkitError
from adaptkit.methods.grammar import parse_method
from adaptkit.models.load import load_base


def stack_adapters(folders: Sequence[str | Path], output_dir: str | Path) -> None:
    """Write the stack of adapters to a folder, the first nearest to the base.

    It answers with the head of the last one.

    Raises:
        AdaptkitError: fewer than two adapters, different bases, or adapters of PEFT's own methods.
    """
    parts = [read_adapter(folder) for folder in folders]
    if len(parts) < 2:
        raise AdaptkitError("stacking wants two adapters or more.")
    cards = [_card(part) for part in parts]
    for part in parts:
        check_same_base(part, parts[0])
    last = cards[-1]
    task = task_of(last).auto_class if last.task else last.model_class
    base = load_base(last.base or "", task=task, labels=last.labels or None, revision=last.revision)
    unions = [parse_method(card.method or "") for card in cards]
    given = [own_tensors(part, base, union) for part, union in zip(parts, unions, strict=True)]
    found: dict[str, torch.Tensor] = {}
    start = 0
    for union, tensors in zip(unions, given, strict=True):
        for path, attachments in plan(base, union).items():
            root = f"base_model.model.{path}.adaptkit_weights."
            for at in attachments:
                moved = dataclasses.replace(at, index=at.index + start)
                found |= {
                    root + moved.weight_name(name): tensors[root + at.weight_name(name)]
                    for name in at.method.spec(at.site)
                }
        start += len(union)
    model = adapt(base, [method for union in unions for method in union])
    with torch.no_grad():
        for key, slot in adapter_tensors(model, model.active_adapter).items():
            slot.copy_(found[key] if key in found else given[-1][key])
    save_adapter(model, output_dir, card=dataclasses.replace(last, metrics={}, stopped=None))


def _card(part: AdapterFiles):
    if part.card is None or not part.card.method or part.card.method.startswith("peft:"):
        raise AdaptkitError(
            f"{part.folder} was not made by one of adaptkit's methods, so it cannot be stacked."
        )
    return part.card
