"""The parts of a task model, adapted or not: its backbone, the base's own modules, map shapes."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


def backbone_of(model: Any) -> tuple[Any, str]:
    """A task model's backbone and the prefix of its parameter names: `(model.bert, "bert.")`."""
    prefix = getattr(model, "base_model_prefix", "")
    backbone = getattr(model, prefix, None) if prefix else None
    return (backbone, prefix + ".") if isinstance(backbone, nn.Module) else (model, "")


# The children that hold the base's own module in what PEFT and adaptkit put in its place.
_WRAPPED = ("base_layer", "original_module", "token_adapter")


def base_modules(model: nn.Module) -> dict[str, nn.Module]:
    """The modules of the base by path, as `named_modules` gave them before anything was injected.

    Whatever reads the structure of a model reads it here, so an adapted model has the sites, names
    and fingerprint of its base: there is nothing to remember, copy or keep up to date.
    """
    found: dict[str, nn.Module] = {}
    seen: set[int] = set()

    def visit(path: str, module: nn.Module) -> None:
        module = base_module(module)
        if id(module) in seen:
            return
        seen.add(id(module))
        found[path] = module
        for name, child in module.named_children():
            visit(f"{path}.{name}" if path else name, child)

    visit("", model)
    return found


def base_module(module: nn.Module) -> nn.Module:
    """The base's own module behind its wrappers, or the module itself."""
    while inside := [name for name in _wrapped(module) if module._modules.get(name) is not None]:
        module = module.get_submodule(inside[0])
    return module


def _wrapped(module: nn.Module) -> tuple[str, ...]:
    """PEFT's AdaptionPrompt has its own name for the attention that it wraps."""
    prompted = type(module).__module__.startswith("peft.tuners.adaption_prompt")
    return ("model",) if prompted else _WRAPPED


def linear_shape(module: Any) -> tuple[int, int]:
    """(width in, width out) of a linear map: torch, Conv1D or quantized, wrapped by PEFT or not."""
    module = base_module(module)
    if hasattr(module, "in_features"):
        return module.in_features, module.out_features
    return module.nx, module.nf  # transformers.pytorch_utils.Conv1D


def device_of(module: nn.Module) -> torch.device:
    """Where a module computes. Accelerate fetches weights that it has put elsewhere for a call."""
    device = next(module.parameters()).device
    hook = getattr(module, "_hf_hook", None)
    elsewhere = device.type == "meta" and getattr(hook, "execution_device", None) is not None
    return torch.device(hook.execution_device) if elsewhere else device


def bare_model(model: Any) -> Any:
    """The transformers model without PEFT's wrapper."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model
