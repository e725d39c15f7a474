"""bitsandbytes settings for a base, and checkpoints that are stored quantized."""

from __future__ import annotations

import torch

from adaptkit.models.backbone import backbone_of

QUANTIZE = ("int8", "nf4")

AUTO = ("auto", None)  # dtypes that leave the choice to adaptkit


def _quantization(quantize: str, dtype, skip: list[str]):
    from transformers import BitsAndBytesConfig

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
