"""Combine stored adapters into a new one that saves, loads and serves like any other.

Only files are read; no base is loaded.

    average             the weighted mean of all weights; any method
                        (AdapterSoup: Chronopoulou et al. 2023, arXiv:2302.07027)
    cat                 LoRA: the exact sum of all updates; ranks add up
    magnitude_prune, ties, dare_linear, dare_ties
                        LoRA: PEFT's merges of the factors A and B, each scaled by the root of its
                        weight and of alpha / r (TIES: Yadav et al. 2023, arXiv:2306.01708; DARE:
                        Yu et al. 2023, arXiv:2311.03099)

With default weights, identical adapters combine to the same adapter again (if nothing is
dropped). Heads are always averaged, so the adapters must have the same labels.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import peft
import torch
from peft.utils import merge_utils
from safetensors.torch import save_file
from torch import Tensor

from adaptkit.adapters.card import CARD, CONFIG, WEIGHTS, TaskCard, task_of
from adaptkit.adapters.files import (
    AdapterFiles,
    all_finite,
    check_same_base,
    check_shapes,
    read_adapter,
)
from adaptkit.adapters.peft_lora import is_plain_lora
from adaptkit.adapters.save_load import load_adapter, save_adapter
from adaptkit.errors import AdaptkitError, quoted, unknown
from adaptkit.methods.grammar import describe_method, parse_method
from adaptkit.methods.lora import LoRA
from adaptkit.utils.atomic_files import new_version
from adaptkit.utils.json_files import write_json
from adaptkit.utils.versions import versions

MERGES = ("magnitude_prune", "ties", "dare_linear", "dare_ties")

FACTORS = (".lora_A.weight", ".lora_B.weight")

HOW = ("average", "cat", *MERGES)


def combine(
    folders: Sequence[str | Path],
    output_dir: str | Path,
    how: str = "average",
    weights: Sequence[float] | None = None,
    density: float = 0.5,
    seed: int = 0,
) -> None:
    """Write the combination of adapters to a folder.

    Args:
        folders: adapters of one base with the same labels.
        how: one of `HOW`.
        weights: one per adapter; equal by default (`_alike`). `average` uses only their ratios; the
            merges use them as PEFT does, so TIES with weights of 1 is the mean of the values that
            agree.
        density: the share of values that TIES, DARE and pruning keep, above 0 and up to 1.
        seed: seed for the values that DARE drops.

    Raises:
        AdaptkitError: the adapters are incompatible, `how` is unknown, or the weights are invalid.
            Nothing is written then.
    """
    if how not in HOW:
        raise unknown("way to combine", how, HOW)
    parts = [read_adapter(folder) for folder in folders]
    shares = _shares(weights, len(parts), how)
    if not 0 < density <= 1:
        raise AdaptkitError(f"density is a share above 0 and up to 1, not {density}.")
    loras = [_check(part, parts[0], how) for part in parts]
    tensors = [part.tensors() for part in parts]
    for part, one in zip(parts, tensors, strict=True):
        shapes = {key: tuple(tensor.shape) for key, tensor in tensors[0].items()}
        if how != "cat":
            check_shapes(
                part.folder, {key: tuple(tensor.shape) for key, tensor in one.items()}, shapes
            )
        elif one.keys() != shapes.keys():
            raise AdaptkitError(
                f"{part.folder} and {parts[0].folder} do not hold the same tensors."
            )
    settings, card = dict(parts[0].settings), parts[0].card
    assert card is not None
    total = sum(shares)
    factors = [key for key in sorted(tensors[0]) if how != "average" and key.endswith(FACTORS)]
    means = [share / total for share in shares]
    mixed = {
        key: _mean([one[key] for one in tensors], means) for key in tensors[0] if key not in factors
    }
    method = card.method or ""
    if how != "average":
        strengths = [share * lora.scale for share, lora in zip(shares, loras, strict=True)]
        rank = sum(lora.r for lora in loras) if how == "cat" else loras[0].r
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            for key in factors:
                given = [one[key].float() for one in tensors]
                mixed[key] = (
                    _cat(key, given, strengths)
                    if how == "cat"
                    else _merged(how, given, strengths, density)
                )
        largest = rank * (settings["r"] // loras[0].r)  # of packed projections it is several times
        settings |= {"r": largest, "lora_alpha": largest, "use_rslora": False}
        if "rank_pattern" in settings:  # the scale is in the factors, there too
            settings["alpha_pattern"] = settings["rank_pattern"]
        method = describe_method(
            (dataclasses.replace(loras[0], r=rank, alpha=rank, rslora=False),), full=True
        )
    if bad := [key for key, tensor in mixed.items() if not all_finite(tensor)]:
        raise AdaptkitError(f"{bad[0]} would hold values that are too large for its dtype.")
    card = dataclasses.replace(card, method=method, metrics={}, stopped=None, versions=versions())
    with new_version(output_dir) as staged:
        save_file(
            {key: tensor.contiguous() for key, tensor in mixed.items()},
            staged / WEIGHTS,
            metadata={"format": "pt"},
        )
        card.weights_sha256 = hashlib.sha256((staged / WEIGHTS).read_bytes()).hexdigest()
        write_json(staged / CONFIG, settings)
        write_json(staged / CARD, dataclasses.asdict(card))


def _shares(weights: Sequence[float] | None, count: int, how: str) -> list[float]:
    shares = [_alike(how, count)] * count if weights is None and count else list(weights or [])
    if count < 2:
        raise AdaptkitError("combining wants two adapters or more.")
    if (
        len(shares) != count
        or not all(math.isfinite(share) and share >= 0 for share in shares)
        or not sum(shares)
    ):
        raise AdaptkitError(
            f"one weight is wanted for each of the {count} adapters, none below 0 and not all 0; "
            f"given were {shares}."
        )
    return shares


def _alike(how: str, count: int) -> float:
    """Equal weights for this number of adapters.

    TIES itself divides by the number of adapters. The sum of the factors A times the sum of the
    factors B, each with the root of its weight, is the update of every A with every B.
    """
    if how in ("ties", "dare_ties"):
        return 1.0
    return 1.0 / count**2 if how in ("magnitude_prune", "dare_linear") else 1.0 / count


def _check(part: AdapterFiles, first: AdapterFiles, how: str) -> LoRA:
    """Check that an adapter is compatible with the first one; returns its LoRA if it is plain LoRA.

    Raises:
        AdaptkitError: the base, labels or method differ, or `how` does not support the method.
    """
    card, other = part.card, first.card
    if card is None or other is None or not card.method:
        raise AdaptkitError(
            f"{part.folder if card is None else first.folder} has no task card: combine adapters "
            "made by adaptkit."
        )
    check_same_base(part, first)
    if (card.task, card.labels) != (other.task, other.labels):
        raise AdaptkitError(
            f"{part.folder} answers otherwise than {first.folder}: {card.task} {card.labels}, "
            f"{other.task} {other.labels}."
        )
    if differs := _differing(card, other):
        raise AdaptkitError(f"{part.folder} answers otherwise than {first.folder}: {differs}.")
    union = () if card.method.startswith("peft:") else parse_method(card.method)
    plain = next((one for one in union if isinstance(one, LoRA) and is_plain_lora(union)), None)
    if how != "average" and plain is None:
        raise AdaptkitError(
            f"{part.folder} is {card.method}: {how} is for plain LoRA; average works for every "
            "method."
        )
    packed = plain is not None and part.settings["r"] != plain.r
    if how == "cat" and (packed or part.settings.get("rank_pattern")):
        raise AdaptkitError(
            f"{part.folder} adapts packed projections, whose factors cannot be put side by side; "
            "use average."
        )
    if card.method.startswith("peft:") and _no_names(part.settings) != _no_names(first.settings):
        raise AdaptkitError(
            f"{part.folder} and {first.folder} have different settings of {card.method}."
        )
    if _comparable(card.method, how) != _comparable(other.method or "", how):
        raise AdaptkitError(
            f"{part.folder} is {card.method} and {first.folder} is {other.method}: {how} wants "
            "the same."
        )
    return plain or LoRA()


# Settings of tasks that count in training, or in reading its file, and not in answers.
_NOT_OF_ANSWERS = (
    *("class_weights", "weights", "temperature", "packing", "mlm_probability", "num_generated"),
    *("label_names", "label_columns", "label_delimiter", "span_end", "no_relation"),
)


def _differing(card: TaskCard, other: TaskCard) -> str:
    """The first difference in what two adapters read of a row, or in how they answer; or ""."""
    if card.task is None:
        return ""
    one, two = (_answering(given) for given in (card, other))
    names = [name for name in one if name not in _NOT_OF_ANSWERS and one[name] != two[name]]
    return f"{names[0]} is {quoted(one[names[0]])} and {quoted(two[names[0]])}" if names else ""


def _answering(card: TaskCard) -> dict[str, Any]:
    """The settings of an adapter's task, and what it reads of a row."""
    task = task_of(card)
    inputs = set(task.parts) - set(task.label_parts)
    return task.settings() | {"what they read": sorted(filter(task.column, inputs))}


def _no_names(settings: dict) -> dict:
    """A PEFT configuration without the fields that do not affect the formula."""
    return {
        key: value
        for key, value in settings.items()
        if key not in ("base_model_name_or_path", "revision", "peft_version")
    }


def _comparable(method: str, how: str) -> object:
    """The settings that must be equal; ranks that are concatenated may differ."""
    if how != "cat":
        return method
    return [
        dataclasses.replace(one, r=1, alpha=1.0, rslora=False, dropout=0.0)
        for one in parse_method(method)
        if isinstance(one, LoRA)
    ]


def add_weighted_adapter(
    model: peft.PeftModel,
    adapters: Sequence[str],
    weights: Sequence[float],
    adapter_name: str,
    combination_type: str = "cat",
    density: float = 0.5,
) -> None:
    """Add a combination of a model's adapters to it, and make it the active one.

    Args:
        adapters, weights: names in the model, and a weight for each.
        adapter_name: of the new adapter.
        combination_type: one of `HOW`; `cat` adds LoRA's updates exactly.
        density: as in `combine`.

    Raises:
        AdaptkitError: as of `combine`; or the model has such an adapter already.
    """
    if adapter_name in model.peft_config:
        raise AdaptkitError(
            f"the model has an adapter {adapter_name!r} already; choose another adapter_name."
        )
    with TemporaryDirectory() as place:
        folders = [Path(place) / str(number) for number in range(len(adapters))]
        for name, folder in zip(adapters, folders, strict=True):
            save_adapter(model, folder, adapter_name=name)
        combine(folders, Path(place) / "new", combination_type, weights, density)
        load_adapter(Path(place) / "new", model, adapter_name=adapter_name, check_base=False)


def _mean(given: list[Tensor], shares: list[float]) -> Tensor:
    if all(torch.equal(one, given[0]) for one in given[1:]):
        return given[0]  # rounding shares nothing away
    return (
        torch.stack([share * one.double() for share, one in zip(shares, given, strict=True)])
        .sum(0)
        .to(given[0].dtype)
    )


def _cat(key: str, given: list[Tensor], strengths: list[float]) -> Tensor:
    """Stack the A's by rows and the B's by columns, each with its weight."""
    if key.endswith(FACTORS[0]):
        return torch.cat(given)
    return torch.cat([strength * one for strength, one in zip(strengths, given, strict=True)], 1)


def _merged(how: str, given: list[Tensor], strengths: list[float], density: float) -> Tensor:
    """One factor, merged as in PEFT's `add_weighted_adapter`."""
    roots = torch.tensor([math.sqrt(strength) for strength in strengths])
    return getattr(merge_utils, how)(given, roots, density)
