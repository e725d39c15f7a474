"""The settings in `adapter_config.json`, checked before PEFT or anything else acts on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import peft

from adaptkit.errors import AdaptkitError, quoted, shorten
from adaptkit.utils.json_types import check_types

LONGEST_TEXT = 10_000  # characters; a pattern that lists modules has some hundreds
MOST_VALUES = 100_000
DEEPEST = 8
LARGEST = 1e6  # of a scale: with more, fp32 keeps nothing of what it is added to

_Names = list[str] | str | None

_TYPES: dict[str, Any] = {
    "peft_type": str,
    "base_model_name_or_path": str | None,
    "revision": str | None,
    "task_type": str | None,
    "auto_mapping": dict[str, Any] | None,
    "target_modules": _Names,
    "exclude_modules": _Names,
    "feedforward_modules": _Names,
    "layers_pattern": _Names,
    "layers_to_transform": list[int] | int | None,
    "modules_to_save": list[str] | None,
    "rank_pattern": dict[str, Any] | None,
    "alpha_pattern": dict[str, float] | None,
    "r": int | None,
    "lora_alpha": float,
    "use_rslora": bool,
}


def check_settings(settings: dict[str, Any], path: Path) -> None:
    """Refuse settings of wrong types, out of range, or too many to be an adapter's.

    Raises:
        AdaptkitError: names the setting, and what it should be.
    """
    check_types(settings, _TYPES, path)
    _check_sizes(settings, path)
    check_start(settings.get("init_lora_weights"), f"{path}: ")
    alphas = {f"alpha_pattern[{key}]": one for key, one in _items(settings, "alpha_pattern")}
    for name, alpha in (alphas | {"lora_alpha": settings.get("lora_alpha", 0)}).items():
        if not abs(alpha) <= LARGEST:
            raise AdaptkitError(
                f"{path}: {quoted(name)} is at most {LARGEST:,.0f}; it is {alpha!r}."
            )


def check_start(start: Any, where: str = "") -> None:
    """Refuse a start of LoRA that takes something else out of the base each time it is loaded.

    Raises:
        AdaptkitError: it is PiSSA by a randomized decomposition.
    """
    if isinstance(start, str) and start.startswith("pissa_niter"):
        raise AdaptkitError(
            f"{where}init_lora_weights is {quoted(start)}, which changes the base at random each "
            "time that it is loaded, so what was trained does not come back. Use pissa, which is "
            "exact."
        )


def _items(settings: dict[str, Any], name: str) -> list[tuple[str, Any]]:
    return list((settings.get(name) or {}).items())


def _check_sizes(settings: dict[str, Any], path: Path) -> None:
    """Walk through all values, however they are nested."""
    left: list[tuple[str, Any, int]] = [(name, one, 1) for name, one in settings.items()]
    count = 0
    while left:
        name, value, depth = left.pop()
        count += 1
        inside = list(value.values()) if isinstance(value, dict) else value
        texts = [value, *value] if isinstance(value, dict) else [value]
        if any(isinstance(one, str) and len(one) > LONGEST_TEXT for one in (name, *texts)):
            problem = f"a text is longer than {LONGEST_TEXT:,} characters"
        elif isinstance(value, float) and not abs(value) <= 1e9:
            problem = f"it is {value!r}, which is no number to compute with"
        elif type(value) is int and abs(value) >= 2**63:
            problem = "it is a number of more than 63 bits"
        elif (
            depth > DEEPEST
            or count + (len(inside) if isinstance(inside, list) else 0) > MOST_VALUES
        ):
            problem = f"it holds more than {MOST_VALUES:,} values, or more than {DEEPEST} levels"
        else:
            if isinstance(inside, list):
                left += [(name, one, depth + 1) for one in inside]
            continue
        raise AdaptkitError(f"{path}: {quoted(name)}: {problem}.")


def peft_config(settings: dict[str, Any], path: Path) -> peft.PeftConfig:
    """PEFT's configuration from checked settings, for inference.

    With training settings, some methods would load a tokenizer that the file names.

    Raises:
        AdaptkitError: PEFT does not know the method, or a value.
    """
    kept = {name: value for name, value in settings.items() if name != "runtime_config"}
    try:
        return peft.PeftConfig.from_peft_type(**kept | {"inference_mode": True})
    except KeyError as kind:
        raise AdaptkitError(
            f"{path}: PEFT does not know the method {kind}; is the package that defines it "
            "imported?"
        ) from None
    except Exception as problem:  # settings come from anyone: whatever they cause is a refusal
        raise AdaptkitError(f"{path}: PEFT refuses it: {shorten(str(problem), 300)}") from problem
