"""The parts of a task model: the model inside PEFT's wrapper, its backbone, linear map shapes."""

from __future__ import annotations

from typing import Any

from torch import nn


def backbone_of(model: Any) -> tuple[Any, str]:
    """A task model's backbone and the prefix of its parameter names: `(model.bert, "bert.")`."""
    prefix = getattr(model, "base_model_prefix", "")
    backbone = getattr(model, prefix, None) if prefix else None
    return (backbone, prefix + ".") if isinstance(backbone, nn.Module) else (model, "")


def linear_shape(module: Any) -> tuple[int, int]:
    """(width in, width out) of a linear map: torch, Conv1D or quantized, wrapped by PEFT or not."""
    module = getattr(module, "base_layer", module)
    if hasattr(module, "in_features"):
        return module.in_features, module.out_features
    return module.nx, module.nf  # transformers.pytorch_utils.Conv1D


def bare_model(model: Any) -> Any:
    """The transformers model without PEFT's wrapper."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model
