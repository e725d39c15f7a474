"""The tensors that PEFT needs for its settings on a model, found without memory for any of them."""

from __future__ import annotations

import copy
import warnings
from pathlib import Path
from typing import Any

import peft
import torch
from peft.utils import get_peft_model_state_dict
from torch import nn

from adaptkit.adapters.peft_files.patterns import check_patterns
from adaptkit.adapters.peft_files.settings import peft_config
from adaptkit.errors import AdaptkitError, shorten
from adaptkit.models.backbone import base_modules
from adaptkit.models.quantization import is_packed

LARGEST_SIZE = 16_384  # of what a method's settings count: tokens, ranks, widths


def expected_tensors(
    settings: dict[str, Any], model: nn.Module, path: Path
) -> dict[str, tuple[int, ...]] | None:
    """The names on disk and shapes of the tensors of an adapter with these settings, and its head.

    PEFT itself injects the adapter, into a model on the meta device.

    Args:
        settings: checked, of the file `path`.
        model: without adapters; a model that is on the meta device gets this one.

    Returns:
        None for methods that compute with the model's weights when they are injected.

    Raises:
        AdaptkitError: PEFT refuses the settings on this model.
    """
    check_patterns(settings, base_modules(model), path)
    config = peft_config(settings, path)
    if any(not tensor.is_meta for tensor in model.parameters()):
        model = meta_copy(model)
    try:
        with warnings.catch_warnings(), torch.device("meta"):
            warnings.simplefilter("ignore")
            whole = peft.get_peft_model(model, config)
        state = get_peft_model_state_dict(whole, save_embedding_layers=False)
    except Exception as problem:  # settings come from anyone: whatever they cause is a refusal
        if isinstance(problem, NotImplementedError) or "meta" in str(problem):
            _check_numbers(settings, path)
            return None
        raise AdaptkitError(
            f"{path}: PEFT refuses these settings on this model ({type(problem).__name__}): "
            f"{shorten(str(problem), 300)}"
        ) from problem
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def _check_numbers(settings: dict[str, Any], path: Path) -> None:
    """Refuse sizes that no memory holds, where they cannot be tried without memory."""
    for name, value in settings.items():
        if type(value) is int and abs(value) > LARGEST_SIZE and not name.endswith(("seed", "key")):
            raise AdaptkitError(f"{path}: {name} is at most {LARGEST_SIZE:,}; it is {value!r}.")


def meta_copy(model: nn.Module) -> nn.Module:
    """A copy on the meta device, without adapters, and with plain maps for quantized ones."""
    memo: dict[int, object] = {}
    for tensor in (*model.parameters(), *model.buffers()):
        empty = torch.empty(tensor.shape, dtype=tensor.dtype, device="meta")
        is_parameter = isinstance(tensor, nn.Parameter)
        memo[id(tensor)] = nn.Parameter(empty, requires_grad=False) if is_parameter else empty
    whole = copy.deepcopy(model, memo)
    for path, module in base_modules(whole).items():
        plain: Any = module
        weight = getattr(plain, "weight", None)
        if isinstance(weight, torch.Tensor) and is_packed(weight):
            sizes = plain.in_features, plain.out_features
            plain = nn.Linear(*sizes, plain.bias is not None, device="meta")
        parent, _, name = path.rpartition(".")
        if path and whole.get_submodule(path) is not plain:
            setattr(whole.get_submodule(parent), name, plain)
    return whole
