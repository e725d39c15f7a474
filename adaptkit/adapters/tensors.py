"""The tensors of an adapter: their names in a model and on disk, and their shapes."""

from __future__ import annotations

import re
from pathlib import Path

import peft
from torch import Tensor, nn

from adaptkit.adapters.card import WEIGHTS
from adaptkit.adapters.files import AdapterFiles
from adaptkit.adapters.layer import AdaptLayer
from adaptkit.adapters.peft_lora import (
    PREFIX,
    from_peft_lora,
    is_plain_lora,
)
from adaptkit.adapters.tuner import plan
from adaptkit.errors import AdaptkitError
from adaptkit.models.backbone import backbone_of, base_module, base_modules, linear_shape


def adapter_tensors(model: peft.PeftModel, adapter_name: str) -> dict[str, Tensor]:
    """The model's own tensors of one adapter and its head, by their names on disk."""
    found: dict[str, Tensor] = {}
    for path, module in model.get_base_model().named_modules():
        plain = PREFIX + path.replace(".base_layer", "")
        if isinstance(module, AdaptLayer) and adapter_name in module.adaptkit_weights:
            weights = module.adaptkit_weights[adapter_name]
            found |= {f"{plain}.adaptkit_weights.{key}": weight for key, weight in weights.items()}
        elif hasattr(module, "modules_to_save") and adapter_name in module.modules_to_save:
            head = module.modules_to_save[adapter_name].state_dict(keep_vars=True)
            found |= {f"{plain}.{key}": tensor for key, tensor in head.items()}
    return found


def own_tensors(files: AdapterFiles, bare: nn.Module, union: tuple) -> dict[str, Tensor]:
    """Weights of an adaptkit adapter under the names used in a model, as in `adapter_tensors`."""
    return as_ours(files.folder, bare, union, plan(bare, union), _at_home(bare, files.tensors()))


def _at_home(bare: nn.Module, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename tensors of an adapter trained under another head, or none, to this model's paths."""
    paths = base_modules(bare).keys()
    prefix = backbone_of(bare)[1]

    def moved(key: str) -> str:
        body = key.removeprefix(PREFIX)
        path = re.split(r"\.(?:adaptkit_weights|lora_[AB])\.", body)[0]
        if path == body or path in paths:
            return key
        return PREFIX + (prefix + body if prefix + path in paths else body.partition(".")[2])

    return {moved(key): tensor for key, tensor in tensors.items()}


def as_ours(
    folder: Path, bare: nn.Module, union: tuple, planned, tensors: dict[str, Tensor]
) -> dict[str, Tensor]:
    if not is_plain_lora(union):
        return tensors
    try:
        return from_peft_lora(planned, tensors, output_widths(bare, planned))
    except AdaptkitError as problem:
        raise AdaptkitError(f"{folder / WEIGHTS}: {problem}") from None


def expected_shapes(base: nn.Module, planned, head: list[str]) -> dict[str, tuple[int, ...]]:
    shapes = {}
    for path, attachments in planned.items():
        for attachment in attachments:
            for name, param in attachment.method.spec(attachment.site).items():
                shapes[f"{PREFIX}{path}.adaptkit_weights.{attachment.weight_name(name)}"] = (
                    param.shape
                )
    for path in head:
        state = base_module(base.get_submodule(path)).state_dict()
        shapes |= {f"{PREFIX}{path}.{key}": tuple(t.shape) for key, t in state.items()}
    return shapes


def output_widths(base: nn.Module, planned) -> dict[str, int]:
    modules = base_modules(base)
    return {path: linear_shape(modules[path])[1] for path in planned}
