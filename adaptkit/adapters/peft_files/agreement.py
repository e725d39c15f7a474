"""Whether the settings for PEFT say what the card of an adapter of ours says.

Both describe the same weights. PEFT answers by the one and adaptkit by the other, so a difference,
as from an edit by hand, would be two adapters in one folder.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import peft
from peft.utils.other import get_pattern_key
from torch import Tensor

from adaptkit.adapters.peft_lora import PREFIX, is_plain_lora, lora_settings
from adaptkit.adapters.tuner import AdaptkitPeftType
from adaptkit.errors import AdaptkitError, quoted
from adaptkit.methods.base import Method
from adaptkit.methods.grammar import describe_method, parse_method
from adaptkit.methods.lora import LoRA

# What says nothing of the formula, or is checked with the weights or on the base.
_FREE = (
    *("base_model_name_or_path", "revision", "peft_version", "inference_mode", "runtime_config"),
    *("task_type", "auto_mapping", "lora_dropout", "init_lora_weights", "fan_in_fan_out"),
    *("target_modules", "modules_to_save", "rank_pattern", "alpha_pattern"),
)
MOST_PACKED = 3  # sites of one module: queries, keys and values
_DEFAULTS = vars(peft.LoraConfig())


def check_agreement(method: str, settings: dict[str, Any], path: Path) -> None:
    """Refuse settings that say something else than the method in the card.

    Args:
        method: one of adaptkit's own, in the method grammar.
        settings: of the file `path`.

    Raises:
        AdaptkitError: names the setting, and what it should be.
    """
    union = parse_method(method)
    wanted: dict[str, Any]
    if not is_plain_lora(union):
        wanted = {"peft_type": AdaptkitPeftType.ADAPTKIT.value}
        stated = settings.get("method")
        if not isinstance(stated, str) or with_alpha(stated) != with_alpha(method):
            wanted["method"] = method
    else:
        lora = cast(LoRA, union[0])
        wanted = lora_settings(lora, _rank(lora, settings.get("r")))
        for name in sorted(settings.keys() - wanted.keys() - set(_FREE)):
            wanted[name] = _DEFAULTS.get(name)
        wanted["alpha_pattern"] = _alphas(lora, settings.get("rank_pattern") or {}, path)
    for name, value in wanted.items():
        given = settings.get(name)
        if given != value and (given or value):
            raise AdaptkitError(
                f"{path}: {quoted(name)} is {quoted(given)}, which is not what task.json says: by "
                f"it the adapter is {quoted(method)}, and {quoted(name)} {quoted(value)}. Was one "
                "of the two files edited?"
            )


def _rank(lora: LoRA, stated: Any) -> int:
    """The stated rank, if modules may have it: packed projections have several times the method's.

    Which one it is is seen by the weights.
    """
    packed = type(stated) is int and stated > 0 and stated % lora.r == 0
    return stated if packed and stated // lora.r <= MOST_PACKED else lora.r


def _alphas(lora: LoRA, ranks: dict[str, Any], path: Path) -> dict[str, float]:
    """The alpha of each module with a rank of its own, which keeps the scale of all others."""
    if odd := [rank for rank in ranks.values() if type(rank) is not int or rank < 1]:
        raise AdaptkitError(f"{path}: rank_pattern should hold ranks; one is {quoted(odd[0])}.")
    return {name: lora.scale * lora.grow(rank) for name, rank in ranks.items()}


def check_names(settings: dict[str, Any], tensors: Iterable[str], path: Path) -> None:
    """Refuse settings that name other modules than the weights of an adapter of ours belong to.

    Raises:
        AdaptkitError: names the setting and the module.
    """
    maps: set[str] = set()
    others: set[str] = set()
    for name in tensors:
        body = name.removeprefix(PREFIX)
        if ".adaptkit_weights." in body:
            continue
        module, lora, _ = body.partition(".lora_")
        (maps if lora else others).add(module if lora else body)
    _check_named(settings, "modules_to_save", others, path, below=True)
    if settings.get("peft_type") == "LORA":
        _check_named(settings, "target_modules", maps, path, below=False)


def check_ranks(settings: dict[str, Any], tensors: dict[str, Tensor], path: Path) -> None:
    """Refuse settings that give a LoRA's module another rank than its weights have.

    Raises:
        AdaptkitError: names the module and both ranks.
    """
    if settings.get("peft_type") != "LORA":
        return
    patterns = settings.get("rank_pattern") or {}
    for name, tensor in tensors.items():
        module, lora, _ = name.removeprefix(PREFIX).partition(".lora_A.")
        rank = patterns.get(get_pattern_key(list(patterns), module), settings.get("r"))
        if lora and len(tensor) != rank:
            raise AdaptkitError(
                f"{path}: {quoted(module)} has rank {rank}, and the file of the weights holds one "
                f"of rank {len(tensor)}. Was one of the two edited?"
            )


def _check_named(
    settings: dict[str, Any], setting: str, found: set[str], path: Path, below: bool
) -> None:
    """Each named module has weights, and all weights belong to a named module."""
    names = settings.get(setting) or []
    if not isinstance(names, list):  # a pattern, which is none of ours
        raise AdaptkitError(f"{path}: {setting} should be a list; it is {quoted(names)}.")

    def belongs(body: str, name: str) -> bool:
        if below:
            return body.startswith(f"{name}.")
        return body == name or body.endswith(f".{name}")

    for name in names:
        if not any(belongs(body, name) for body in found):
            raise AdaptkitError(
                f"{path}: {setting} names {quoted(name)}, and the file of the weights holds none "
                "of it. Was one of the two edited?"
            )
    for body in sorted(found):
        if not any(belongs(body, name) for name in names):
            raise AdaptkitError(
                f"{path}: {setting} does not name {quoted(body)}, of which the file of the weights "
                "holds some. Was one of the two edited?"
            )


def with_alpha(method: str) -> str:
    """A stored method with explicit alpha: cards of 0.1.0 omit it, and rslora defaulted to 2 r."""

    def pinned(one: Method) -> Method:
        if isinstance(one, LoRA) and one.rslora and one.alpha is None:
            return dataclasses.replace(one, alpha=2.0 * one.r)
        return one

    return describe_method(tuple(map(pinned, parse_method(method))), full=True)
