"""The input of a fresh head: what the base passes to the new part, not the states of all tokens."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from adaptkit.errors import AdaptkitError


class HeadInput:
    """For rows of inputs, the input of a task model's new part, `(rows, width)`.

    BERT passes the pooled first token, RoBERTa the first token, Llama the last one. If the new part
    gets the states of all tokens, a gradient finds the token that it reads, as in
    `adaptkit.training.last_layer`; of several tokens it is the mean.

    Args:
        model: from `load_base`, with a new head.

    Raises:
        AdaptkitError: when called, if the head depends on no token.
    """

    def __init__(self, model: Any):
        self.model = model
        self._new = [model.get_submodule(path) for path in model.adaptkit_base.head]

    def __call__(self, inputs: dict[str, Tensor]) -> Tensor:
        read: list[Tensor] = []

        def keep(module: nn.Module, args: tuple) -> tuple | None:
            if read:
                return None
            read.append(args[0].detach().requires_grad_())
            return (read[0], *args[1:])

        hooks = [module.register_forward_pre_hook(keep) for module in self._new]
        try:
            with torch.enable_grad():
                scores = self.model(**inputs).logits
        finally:
            for hook in hooks:
                hook.remove()
        states = read[0]
        if states.dim() == 2:
            return states.detach().float()
        (gradient,) = torch.autograd.grad(scores.sum(), states)
        looked_at = (gradient != 0).any(-1, keepdim=True)
        if not looked_at.any(1).all():
            raise AdaptkitError(
                f"the new head of this {type(self.model).__name__} depends on no token of some "
                "rows."
            )
        return ((states * looked_at).sum(1) / looked_at.sum(1)).detach().float()
