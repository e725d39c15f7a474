"""What is kept in which precision while an adapter trains.

What trains is small and stays in fp32: half precision loses small steps. What is frozen is large: under autocast torch would cast
it again at every use, and the residual stream would stay in fp32 and be cast before every product. In bf16 neither is cast.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from adaptkit.layers import AdaptLayer

HALVES = (torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class Precision:
    """The precisions to train in.

    autocast: the dtype that autocast computes in, or None without it. half_base: what is frozen and in fp32 goes into bf16, where
    autocast computes in that; quantized weights stay as they are.
    """

    autocast: torch.dtype | None = None
    half_base: bool = True

    def wanted(self, parameter: nn.Parameter) -> torch.dtype:
        """The dtype of one parameter while it trains, or while others train."""
        if self.autocast and parameter.requires_grad and parameter.dtype in HALVES:
            return torch.float32
        halved = self.half_base and self.autocast == torch.bfloat16 and not parameter.requires_grad
        return torch.bfloat16 if halved and parameter.dtype == torch.float32 else parameter.dtype

    def set(self, model: nn.Module) -> nn.Module:
        """The model in these precisions."""
        for parameter in _not_kept(model):
            parameter.data = parameter.data.to(self.wanted(parameter))
        return model

    @contextmanager
    def of(self, model: nn.Module) -> Iterator[None]:
        """The model in these precisions for a while; afterwards it is as it was, what is frozen to the bit."""
        changed = [parameter for parameter in _not_kept(model) if self.wanted(parameter) != parameter.dtype]
        before = [(parameter.dtype, parameter.device) for parameter in changed]
        frozen = {parameter: parameter.data.cpu() for parameter in changed if not parameter.requires_grad}
        self.set(model)
        try:
            yield
        finally:
            for parameter, (dtype, device) in zip(changed, before, strict=True):
                parameter.data = frozen.get(parameter, parameter.data).to(device, dtype)


def _not_kept(model: nn.Module) -> list[nn.Parameter]:
    """All parameters but the frozen ones of adapters: those are saved with every checkpoint, to the bit."""
    adapters = [module.adaptkit_weights for module in model.modules() if isinstance(module, AdaptLayer)]
    kept = {id(parameter) for weights in adapters for parameter in weights.parameters() if not parameter.requires_grad}
    return [parameter for parameter in model.parameters() if id(parameter) not in kept]
