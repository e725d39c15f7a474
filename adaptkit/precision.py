"""What is kept in which precision while an adapter trains.

What trains is small and stays in fp32: half precision loses small steps. What is frozen is large: under autocast torch would cast
it again at every use, so it goes into bf16. A backbone that is frozen in bf16 as a whole needs no autocast: it is off inside, since
on a GPU it would take norms in fp32, and with them the residual stream, which is then cast before every product.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import peft
import torch
from torch import nn

from adaptkit.layers import AdaptLayer
from adaptkit.sites import backbone_of

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
            with self._inside(model):
                yield
        finally:
            for parameter, (dtype, device) in zip(changed, before, strict=True):
                parameter.data = frozen.get(parameter, parameter.data).to(device, dtype)

    def _inside(self, model: nn.Module) -> AbstractContextManager[None]:
        """The backbone without autocast, where all of it but the adapters is in what autocast computes in."""
        backbone, _ = backbone_of(model.get_base_model() if isinstance(model, peft.PeftModel) else model)
        adapted = {id(weight) for weight in _adapter_weights(backbone)}
        base = {p.dtype for p in backbone.parameters() if p.is_floating_point() and id(p) not in adapted}
        return _without_autocast(backbone) if self.autocast and base == {self.autocast} else nullcontext()


@contextmanager
def _without_autocast(module: nn.Module) -> Iterator[None]:
    """A module whose `forward` is not autocast, by an attribute of its own, as accelerate places its hooks."""
    own = vars(module).get("forward")
    device = next(module.parameters()).device.type
    module.forward = torch.autocast(device, enabled=False)(module.forward)
    try:
        yield
    finally:
        del module.forward
        if own is not None:
            module.forward = own


def _adapter_weights(model: nn.Module) -> list[nn.Parameter]:
    layers = [module for module in model.modules() if isinstance(module, AdaptLayer)]
    return [weight for layer in layers for weight in layer.adaptkit_weights.parameters()]


def _not_kept(model: nn.Module) -> list[nn.Parameter]:
    """All parameters but the frozen ones of adapters: those are saved with every checkpoint, to the bit."""
    kept = {id(weight) for weight in _adapter_weights(model) if not weight.requires_grad}
    return [parameter for parameter in model.parameters() if id(parameter) not in kept]
