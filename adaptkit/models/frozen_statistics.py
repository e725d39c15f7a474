"""Keep the running statistics of a frozen base as they are while an adapter trains.

A batch norm in training mode computes with the batch's own mean and variance and moves its running
ones, which the base answers with later. Neither is part of an adapter, so what was trained and what
is loaded would be different models. Conformers (speech) have batch norms; text models have none.
"""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _NormBase


def freeze_statistics(model: nn.Module) -> None:
    """Let frozen batch norms compute with their running statistics, in training too."""
    for module in model.modules():
        hooks = module._forward_pre_hooks.values()
        if isinstance(module, _NormBase) and _as_in_evaluation not in hooks:
            module.register_forward_pre_hook(_as_in_evaluation)


def _as_in_evaluation(module: nn.Module, args: Any) -> None:
    """One that trains, in a head or after `unload`, computes as usual."""
    if not any(parameter.requires_grad for parameter in module.parameters()):
        module.eval()
