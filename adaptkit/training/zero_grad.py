"""`zero_grad` without iterating over all modules at every step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn


class ZeroGrad:
    """Replaces a model's `zero_grad`; it does not iterate over its modules."""

    def __init__(self, model: nn.Module):
        self.zero_grad, self.parameters = model.zero_grad, list(model.parameters())

    def __call__(self, set_to_none: bool = True) -> None:
        if not set_to_none:
            return self.zero_grad(set_to_none=False)
        for parameter in self.parameters:
            parameter.grad = None


@contextmanager
def quick_zero_grad(model: Any) -> Iterator[None]:
    """Use the fast `zero_grad` while the block runs."""
    model.zero_grad = ZeroGrad(model)
    try:
        yield
    finally:
        del model.zero_grad
