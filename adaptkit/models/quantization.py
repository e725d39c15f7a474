"""Quantized bases: settings to load one with, how one was loaded, and weights that are packed."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from adaptkit.errors import AdaptkitError, unknown
from adaptkit.models.backbone import backbone_of
from adaptkit.models.names import load_config

QUANTIZE = ("int8", "nf4")

# What transformers' configurations call the modules that stay as they are.
SKIPPED = ("llm_int8_skip_modules", "modules_to_not_convert")
AUTO = ("auto", None)  # dtypes that leave the choice to adaptkit


def checked_quantize(quantize: Any) -> str | dict[str, Any] | None:
    """How to quantize: a name, or the settings of one of transformers' configurations.

    Raises:
        AdaptkitError: it is neither.
    """
    if hasattr(quantize, "quant_method") and hasattr(quantize, "to_dict"):
        quantize = quantize.to_dict()
    if quantize in (None, "none"):
        return None
    if isinstance(quantize, dict) and "quant_method" in quantize:
        return quantize
    if quantize not in QUANTIZE:
        raise unknown("quantization", str(quantize), QUANTIZE)
    return quantize


def _quantization(quantize: str | dict[str, Any], dtype, skip: list[str]):
    from transformers import BitsAndBytesConfig

    if isinstance(quantize, dict):
        return _from_settings(quantize, skip)
    skip_modules = skip or None
    if quantize == "int8":
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=skip_modules)
    compute = (
        torch.bfloat16
        if dtype in AUTO
        else getattr(torch, dtype)
        if isinstance(dtype, str)
        else dtype
    )
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=compute,
        llm_int8_skip_modules=skip_modules,
    )


def _from_settings(settings: dict[str, Any], skip: list[str]) -> Any:
    """A configuration of transformers, which leaves the modules `skip` as they are."""
    from transformers.quantizers import AutoQuantizationConfig

    found = AutoQuantizationConfig.from_dict(dict(settings))
    name = next((one for one in SKIPPED if hasattr(found, one)), None)
    if skip and name is not None:
        setattr(found, name, [*(getattr(found, name) or ()), *skip])
    return found


def is_packed(tensor: Tensor) -> bool:
    """True if a tensor does not hold the numbers of a weight as they are.

    bitsandbytes packs them into whole numbers; torchao and quanto into tensors of their own kind.
    """
    inside = hasattr(tensor, "__tensor_flatten__") and not isinstance(tensor, DTensor)
    return inside or not tensor.dtype.is_floating_point


def quantization_of(model: Any) -> str | dict[str, Any] | None:
    """How a model was quantized when it was loaded; None if it was not, or its files are so."""
    if (record := getattr(model, "adaptkit_base", None)) is not None:
        return record.quantize
    settings = getattr(model.config, "quantization_config", None)
    if settings is None:
        return None
    with suppress(AdaptkitError):
        if getattr(load_config(model.name_or_path), "quantization_config", None) is not None:
            return None
    return settings if isinstance(settings, dict) else settings.to_dict()


PACKS = "support_avx512bf16_for_cpu"  # bitsandbytes: of a 4-bit layer that may do so


def keep_unpacked(model: Any) -> None:
    """Keep the 4-bit layers of a base on a CPU as they train.

    At the first evaluation on a CPU with AVX512, bitsandbytes (0.50) packs their weights for a
    kernel without a backward pass.
    """
    for module in model.modules():
        if getattr(module, PACKS, False):
            setattr(module, PACKS, False)
            module.adaptkit_packs = True


def let_pack(model: Any) -> None:
    """Let the 4-bit layers of a base that never trains be packed for a faster kernel."""
    for module in model.modules():
        if getattr(module, "adaptkit_packs", False):
            setattr(module, PACKS, True)


def check_unpacked(model: Any) -> None:
    """Refuse a base whose 4-bit layers were packed.

    Raises:
        AdaptkitError: they were: bitsandbytes rounds the scales then, and its way back does not
            restore them.
    """
    states = (getattr(getattr(one, "weight", None), "quant_state", None) for one in model.modules())
    if any(getattr(state, "packing_format_for_cpu", False) for state in states):
        raise AdaptkitError(
            "this base has answered already, and bitsandbytes has packed its 4-bit weights for "
            "that in a way that cannot be undone: load it again, and adapt it before it answers. "
            "(adaptkit.load_base keeps them as they are.)"
        )


def _stored_quantized(settings) -> bool:
    """True if a checkpoint holds weights quantized by bitsandbytes."""
    stored = getattr(settings, "quantization_config", None)
    return isinstance(stored, dict) and stored.get("quant_method") == "bitsandbytes"


def _keep_outside_whole(settings, auto_class) -> None:
    """Keep modules outside the network in full precision: those that are new must train."""
    with torch.device("meta"):
        model = getattr(auto_class, "from_config", auto_class)(settings)
    _, prefix = backbone_of(model)
    if outside := [name for name, _ in model.named_children() if prefix and f"{name}." != prefix]:
        known = settings.quantization_config.get("llm_int8_skip_modules") or []
        settings.quantization_config["llm_int8_skip_modules"] = [*known, *outside]
