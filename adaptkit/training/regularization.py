"""Rates by part, and regularization for fine-tuning pretrained weights, against forgetting.

layer-wise rates      each layer's learning rate is a fraction of that of the layer above
                      (Howard and Ruder 2018, arXiv:1801.06146)
gradual unfreezing    one more layer from the top trains in each epoch (the same paper)
LoRA+                 the matrices B of LoRA have a larger rate than all else
                      (Hayou et al. 2024, arXiv:2402.12354)
L2-SP                 the loss grows with the squared distance from the initial weights
                      (Li et al. 2018, arXiv:1802.01483)
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from transformers import TrainerCallback

from adaptkit.adapters.full import FULL
from adaptkit.adapters.layer import AdaptLayer
from adaptkit.errors import AdaptkitError, quoted
from adaptkit.methods.grammar import parse_method
from adaptkit.methods.lora import LoRA
from adaptkit.models.backbone import backbone_of
from adaptkit.models.find_sites import layer_paths
from adaptkit.models.probe import parameters_called_after

NO_LORA = "--lora_plus_ratio is the rate of LoRA's matrices B over that of A, and no LoRA trains."


def depths(model: Any) -> dict[str, int]:
    """The depth of each parameter: 0 before the layers, one per layer, then one for the rest."""
    _, prefix = backbone_of(model)
    layers = [f"{prefix}{path}." for _, paths in layer_paths(model) for path in paths]
    behind = parameters_called_after(model, layers[-1].removesuffix("."))
    found: dict[str, int] = {}
    for name, _ in model.named_parameters():
        inside = next((number for number, path in enumerate(layers, 1) if name.startswith(path)), 0)
        found[name] = len(layers) + 1 if name in behind else inside
    return found


def layer_factors(model: Any, decay: float) -> dict[int, float]:
    """The factor on the rate of each parameter, by its id: `decay` times that of the next layer."""
    place = depths(model)
    top = max(place.values())
    return {id(p): decay ** (top - place[name]) for name, p in model.named_parameters()}


def head_factors(model: Any, factor: float) -> dict[int, float]:
    """The factor on the rate of each parameter of the new head, by its id."""
    record = getattr(model, "adaptkit_base", None)
    new = [model.get_submodule(path) for path in (record.head if record else ())]
    return {id(parameter): factor for part in new for parameter in part.parameters()}


def lora_plus_factors(model: Any, ratio: float) -> dict[int, float]:
    """The factor on the rate of each matrix B of LoRA, ours and PEFT's, by its id.

    Raises:
        AdaptkitError: the model has no LoRA that trains.
    """
    found = []
    for module in model.modules():
        if isinstance(module, AdaptLayer):
            found += [
                module.adaptkit_weights[adapter][attachment.weight_name("B")]
                for adapter, attachments in module.adaptkit_attachments.items()
                for attachment in attachments
                if isinstance(attachment.method, LoRA)
            ]
    found += [parameter for name, parameter in model.named_parameters() if "lora_B" in name]
    if not any(parameter.requires_grad for parameter in found):
        raise AdaptkitError(NO_LORA)
    return {id(parameter): ratio for parameter in found}


def check_lora_plus(ratio: float, method: str) -> None:
    """Refuse a ratio that is no factor, and one for a method without LoRA."""
    if not 0 < ratio < math.inf:
        raise AdaptkitError(f"--lora_plus_ratio is a factor above 0; it got {ratio:g}.")
    if ratio == 1 or method.startswith("peft:"):  # what PEFT injects is seen once it is there
        return
    union = () if method == FULL else parse_method(method)
    if not any(isinstance(one, LoRA) for one in union):
        raise AdaptkitError(f"{NO_LORA} This method is {quoted(method)}.")


def set_rates(optimizer: torch.optim.Optimizer, factors: dict[int, float]) -> None:
    """Split a fresh optimizer's groups by the factor on the rate; without one it is 1."""
    groups = []
    for group in optimizer.param_groups:
        by_factor: dict[float, list[nn.Parameter]] = {}
        for parameter in group["params"]:
            by_factor.setdefault(factors.get(id(parameter), 1.0), []).append(parameter)
        for factor, found in sorted(by_factor.items()):
            groups.append(group | {"params": found, "lr": group["lr"] * factor})
    optimizer.param_groups.clear()
    for group in groups:
        optimizer.add_param_group(group)


class L2SPPenalty:
    """L2-SP: half the squared distance of weights from their current values, without new ones."""

    def __init__(self, model: Any):
        record = getattr(model, "adaptkit_base", None)
        head = tuple(f"{module}." for module in (record.head if record else ()))
        chosen = [
            p
            for name, p in model.named_parameters()
            if p.requires_grad and not (head and name.startswith(head))
        ]
        self.pairs = [(parameter, parameter.detach().clone()) for parameter in chosen]

    def __call__(self) -> Tensor | float:
        """The sum over all weights."""
        return sum((0.5 * (now - before.to(now)).square().sum() for now, before in self.pairs), 0.0)


class GradualUnfreezing(TrainerCallback):
    """Train what comes after the layers in epoch one, then one more layer per epoch, top down."""

    def __init__(self, model: Any):
        place = depths(model)
        self.parameters = [
            (place[name], parameter)
            for name, parameter in model.named_parameters()
            if parameter.requires_grad
        ]
        self.top = max(place.values())

    def _train(self, parameters: Iterable[tuple[int, nn.Parameter]], lowest: int) -> None:
        for depth, parameter in parameters:
            parameter.requires_grad_(depth >= lowest)

    def on_epoch_begin(self, args, state, control, **kwargs):
        self._train(self.parameters, self.top - int(state.epoch or 0))

    def on_train_end(self, args, state, control, **kwargs):
        self._train(self.parameters, 0)
