"""Read an adapter's files strictly: from one version of the folder, complete, unchanged, finite."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from adaptkit.adapters.card import CARD, CONFIG, WEIGHTS, TaskCard, existing_adapter, parse_card
from adaptkit.adapters.full import FULL
from adaptkit.adapters.peft_files.agreement import (
    check_agreement,
    check_names,
    check_ranks,
    with_alpha,
)
from adaptkit.adapters.peft_files.settings import check_settings
from adaptkit.errors import AdaptkitError
from adaptkit.models.fingerprint import difference
from adaptkit.utils.atomic_files import read_together
from adaptkit.utils.json_files import parse_json

FLOATS = (torch.float32, torch.bfloat16, torch.float16, torch.float64)

# Names of tensors that are numbers with a fraction; indices and counters have other names.
_WEIGHT = re.compile(r"\.adaptkit_weights\.|lora_|\.?(weight|bias)$")


@dataclass
class AdapterFiles:
    """An adapter's folder: its card or None, PEFT's settings, and the bytes of the weights."""

    folder: Path
    card: TaskCard | None
    settings: dict[str, Any]
    content: bytes | None

    def tensors(self) -> dict[str, Tensor]:
        """The weights, checked."""
        return read_weights(self.folder, self.content, self.card)

    def check_names(self, tensors: dict[str, Tensor]) -> None:
        """Refuse settings of an adapter of ours for other modules or ranks than it has."""
        if self.is_ours:
            check_names(self.settings, tensors, self.folder / CONFIG)
            check_ranks(self.settings, tensors, self.folder / CONFIG)

    @property
    def is_ours(self) -> bool:
        """True for an adapter of one of adaptkit's own methods."""
        method = self.card.method if self.card is not None else None
        return method is not None and not method.startswith("peft:")

    def check_base(self, fingerprint: str, name: str) -> None:
        """Refuse a base other than the one trained on, by fingerprint, or by name without a card.

        Raises:
            AdaptkitError: the base is a different one.
        """
        if self.card is not None and self.card.fingerprint:
            try:
                differs = difference(self.card.fingerprint, fingerprint)
            except AdaptkitError as problem:
                raise AdaptkitError(f"{self.folder / CARD}: {problem}") from None
            if differs:
                raise AdaptkitError(
                    f"{self.folder} was trained on another base, {self.card.base}, than this one "
                    f"({name}): {differs}. Load that base, or pass check_base=False."
                )
            return
        trained_on = self.settings.get("base_model_name_or_path")
        if trained_on and name and Path(trained_on).name != Path(name).name:
            raise AdaptkitError(
                f"{self.folder} was trained on {trained_on}, this base is {name}. Pass "
                "check_base=False to use it anyway."
            )


def read_adapter(folder: str | Path) -> AdapterFiles:
    """Read an adapter's files, all from one version even if the folder is replaced meanwhile.

    Raises:
        AdaptkitError: the folder holds no adapter, or its card or settings are not JSON.
    """
    folder = Path(folder)
    try:
        files = read_together(folder, (CARD, CONFIG, WEIGHTS))
    except OSError as problem:
        existing_adapter(folder)
        raise AdaptkitError(f"{folder} cannot be read: {problem}") from problem
    card = parse_card(files[CARD], folder) if CARD in files else None
    if card is not None and card.method == FULL:
        raise AdaptkitError(f"{folder} holds a whole model and no adapter.")
    if card is not None and "rslora=true" in (card.method or ""):
        card = dataclasses.replace(card, method=with_alpha(card.method or ""))
    if CONFIG not in files:
        existing_adapter(folder)
        raise AdaptkitError(f"{folder} was replaced or deleted while it was read; try again.")
    settings = parse_json(files[CONFIG], folder / CONFIG)
    if is_adapterhub(settings):
        raise AdaptkitError(
            f"{folder} is an adapter of AdapterHub's library; convert it first: adaptkit "
            f"convert {folder} --output_dir NEW"
        )
    check_settings(settings, folder / CONFIG)
    found = AdapterFiles(folder, card, settings, files.get(WEIGHTS))
    if card is not None and card.method and found.is_ours:
        check_agreement(card.method, settings, folder / CONFIG)
    return found


def is_adapterhub(settings: dict[str, Any]) -> bool:
    """True for the settings of AdapterHub's library, whose file has the same name as PEFT's."""
    return "peft_type" not in settings and {"config", "model_type"} <= settings.keys()


def read_weights(folder: Path, content: bytes | None, card: TaskCard | None) -> dict[str, Tensor]:
    """The tensors in the bytes of an adapter's weights file; `folder` is used in messages.

    Raises:
        AdaptkitError: the file is missing or is not a complete safetensors file, its checksum
            differs from the card's, or a value is not finite.
    """
    path = folder / WEIGHTS
    if content is None:
        pickled = (
            " It has a pickle (adapter_model.bin), which is not read."
            if (folder / "adapter_model.bin").exists()
            else ""
        )
        raise AdaptkitError(f"{folder} has no {WEIGHTS}.{pickled}")
    try:
        tensors = load(content)
    except (SafetensorError, ValueError, KeyError) as problem:
        raise AdaptkitError(
            f"{path} is not a whole safetensors file ({problem}); copy it again."
        ) from problem
    if card and card.weights_sha256 and hashlib.sha256(content).hexdigest() != card.weights_sha256:
        raise AdaptkitError(
            f"{path} is not the file that was saved: its checksum differs from the one in {CARD}."
        )
    for key, tensor in tensors.items():
        if tensor.dtype not in FLOATS and (
            tensor.is_floating_point() or tensor.is_complex() or _WEIGHT.search(key)
        ):
            raise AdaptkitError(
                f"{path}: {key} is {tensor.dtype}; weights are numbers with a fraction, "
                f"{', '.join(map(str, FLOATS))}."
            )
        if tensor.is_floating_point() and not all_finite(tensor):
            raise AdaptkitError(
                f"{path}: {key} holds values that are not finite in fp32 (NaN or infinity)."
            )
    return tensors


def all_finite(tensor: Tensor) -> bool:
    """True if no value is NaN, infinite, or too large for fp32.

    Checking for a finite sum takes a fifth of the time; values are only inspected if it is not
    finite.
    """
    return math.isfinite(float(tensor.sum(dtype=torch.float32))) or bool(
        tensor.float().isfinite().all()
    )


def check_same_base(part: AdapterFiles, first: AdapterFiles) -> None:
    """Refuse adapters of different bases, by the fingerprints in their cards."""
    prints = [one.card.fingerprint if one.card is not None else None for one in (part, first)]
    for one, known in zip((part, first), prints, strict=True):
        if not known:
            raise AdaptkitError(
                f"{one.folder} does not say what its base is: it has no fingerprint in {CARD}."
            )
    if differs := difference(prints[0] or "", prints[1] or ""):
        names = [one.card.base if one.card is not None else None for one in (part, first)]
        raise AdaptkitError(
            f"{part.folder} was trained on another base than {first.folder}, {names[0]} and "
            f"{names[1]}: {differs}."
        )


def check_shapes(folder: Path, given: dict[str, tuple], wanted: dict[str, tuple]) -> None:
    """Refuse tensors that are missing, unexpected, or of another shape than the model needs."""
    missing, extra = sorted(wanted.keys() - given.keys()), sorted(given.keys() - wanted.keys())
    wrong = [key for key in sorted(wanted.keys() & given.keys()) if given[key] != wanted[key]]
    problems = []
    if missing:
        problems.append(f"{len(missing)} tensors are missing, the first is {missing[0]}")
    if extra:
        problems.append(f"{len(extra)} tensors belong nowhere, the first is {extra[0]}")
    if wrong:
        problems.append(
            f"{wrong[0]} has shape {given[wrong[0]]}, this base wants {wanted[wrong[0]]}"
        )
    if problems:
        hint = (
            " (another number of labels: pass labels to load_base)"
            if wrong and "adaptkit_" not in wrong[0] and "lora_" not in wrong[0]
            else ""
        )
        raise AdaptkitError(
            f"{folder / WEIGHTS} does not fit this model: {'; '.join(problems)}{hint}."
        )
