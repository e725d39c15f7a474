"""Precision of weights and activations while an adapter trains.

Trained weights are small and stay in fp32: half precision loses small steps. Frozen weights are
    large:
under autocast torch would cast them again at every use, so they are stored in bf16. A backbone that
is frozen in bf16 as a whole needs no autocast and runs without it: on a GPU autocast would compute
norms in fp32, and with them the residual stream, which is then cast before every product.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import peft
import torch
from torch import Tensor, nn

from adaptkit.adapters.layer import AdaptLayer
from adaptkit.models.backbone import backbone_of
from adaptkit.models.forward_wrapper import ForwardWrapper

HALVES = (torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class Precision:
    """The precisions to train in.

    autocast: the dtype of autocast, or None to disable it.
    half_base: store frozen fp32 weights in bf16 if autocast computes in it; quantized weights stay
        as they are.
    copied: the model will be copied to other GPUs at every step (DataParallel), so its modules keep
        their own `forward`.
    """

    autocast: torch.dtype | None = None
    half_base: bool = True
    copied: bool = False

    def wanted(self, parameter: Tensor) -> torch.dtype:
        """The dtype of a parameter (or position table) while it, or others, train."""
        if self.autocast and parameter.requires_grad and parameter.dtype in HALVES:
            return torch.float32
        halved = self.half_base and self.autocast == torch.bfloat16 and not parameter.requires_grad
        return torch.bfloat16 if halved and parameter.dtype == torch.float32 else parameter.dtype

    def set(self, model: nn.Module) -> nn.Module:
        """Set the model to these precisions."""
        for parameter in _not_kept(model):
            parameter.data = parameter.data.to(self.wanted(parameter))
        backbone = _backbone(model)
        if self.autocast == torch.bfloat16 and not self.copied and _is_in(backbone, torch.bfloat16):
            NotAutocast(backbone, torch.bfloat16).place(backbone)
        return model

    @contextmanager
    def of(self, model: nn.Module) -> Iterator[None]:
        """Set the model to these precisions in a block, then restore it, frozen weights exactly."""
        changed = [
            parameter for parameter in _not_kept(model) if self.wanted(parameter) != parameter.dtype
        ]
        before = [(parameter.dtype, parameter.device) for parameter in changed]
        frozen = {
            parameter: parameter.data.cpu() for parameter in changed if not parameter.requires_grad
        }
        self.set(model)
        try:
            yield
        finally:
            if isinstance(inside := vars(_backbone(model)).get("forward"), NotAutocast):
                inside.restore(_backbone(model))
            for parameter, (dtype, device) in zip(changed, before, strict=True):
                parameter.data = frozen.get(parameter, parameter.data).to(device, dtype)


class NotAutocast(ForwardWrapper):
    """Stands in for the `forward` of a module that is in one precision: what comes in is cast to
    it, and inside nothing is.
    """

    def __init__(self, module: nn.Module, dtype: torch.dtype):
        super().__init__(module)
        self.dtype, self.device = dtype, next(module.parameters()).device.type

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with torch.autocast(self.device, enabled=False):
            return self.forward(
                *map(self._cast, args),
                **{name: self._cast(value) for name, value in kwargs.items()},
            )

    def _cast(self, value: Any) -> Any:
        return (
            value.to(self.dtype)
            if isinstance(value, Tensor) and value.is_floating_point()
            else value
        )


def _backbone(model: nn.Module) -> nn.Module:
    return backbone_of(model.get_base_model() if isinstance(model, peft.PeftModel) else model)[0]


def _is_in(module: nn.Module, dtype: torch.dtype) -> bool:
    """True if all of a module except its adapters is in one dtype."""
    return {
        tensor.dtype for tensor in (*_own(module), *_tables(module)) if tensor.is_floating_point()
    } == {dtype}


def _own(module: nn.Module) -> list[nn.Parameter]:
    """The parameters that do not belong to an adapter."""
    adapters = {id(weight) for weight in _adapter_weights(module)}
    return [parameter for parameter in module.parameters() if id(parameter) not in adapters]


def _tables(module: nn.Module) -> list[Tensor]:
    """Buffers that are added to the residual stream, such as M2M100's positions.

    One-dimensional buffers are rotary frequencies.
    """
    return [
        buffer for buffer in module.buffers() if buffer.is_floating_point() and buffer.dim() > 1
    ]


def _adapter_weights(model: nn.Module) -> list[nn.Parameter]:
    layers = [module for module in model.modules() if isinstance(module, AdaptLayer)]
    return [weight for layer in layers for weight in layer.adaptkit_weights.parameters()]


def _not_kept(model: nn.Module) -> list[Tensor]:
    """All parameters except adapters' frozen ones, and the tables of a frozen backbone.

    Checkpoints save frozen parameters of adapters exactly.
    """
    kept = {id(weight) for weight in _adapter_weights(model) if not weight.requires_grad}
    backbone = _backbone(model)
    tables = (
        [] if any(parameter.requires_grad for parameter in _own(backbone)) else _tables(backbone)
    )
    return [*(parameter for parameter in model.parameters() if id(parameter) not in kept), *tables]
