"""Put an adapter of a PEFT method into a base with PEFT, and its stored tensors into it."""

from __future__ import annotations

from typing import Any

import peft
import torch
from peft.utils import get_peft_model_state_dict, set_peft_model_state_dict
from torch import Tensor

from adaptkit.adapters.card import CONFIG, WEIGHTS
from adaptkit.adapters.files import AdapterFiles, check_shapes
from adaptkit.adapters.peft_files.settings import peft_config
from adaptkit.adapters.peft_files.shapes import expected_tensors
from adaptkit.errors import AdaptkitError, shorten
from adaptkit.models.backbone import base_module
from adaptkit.models.frozen_statistics import freeze_statistics


def inject_by_peft(
    files: AdapterFiles, base: Any, bare: Any, tensors: dict[str, Tensor], adapter_name: str
) -> peft.PeftModel:
    """Inject an adapter of a PEFT method with PEFT, and check that every tensor is used.

    PEFT also writes the base's embeddings and output map where they are targets, or where the
    vocabulary has grown. They are put into a base that has no other adapters.

    Raises:
        AdaptkitError: PEFT refuses the settings, or a tensor is missing, unexpected or misshapen.
            The base is unchanged then.
    """
    config = peft_config(files.settings, files.folder / CONFIG)
    given = {key: tuple(tensor.shape) for key, tensor in tensors.items()}
    expected = expected_tensors(files.settings, bare, files.folder / CONFIG)
    if expected is not None:
        others = given.keys() - expected.keys()
        later = {key for key in others if key.startswith(_embedding_paths(bare))}
        check_shapes(files.folder, {k: v for k, v in given.items() if k not in later}, expected)
    fresh = not isinstance(base, peft.PeftModel)
    try:
        if fresh:
            base.requires_grad_(False)
            freeze_statistics(base)
            model = peft.get_peft_model(base, config, adapter_name)
        else:
            model = base
            model.add_adapter(adapter_name, config)
    except (ValueError, TypeError, RuntimeError, AttributeError) as problem:
        raise AdaptkitError(f"{files.folder}: {shorten(str(problem), 300)}") from problem
    state = get_peft_model_state_dict(model, adapter_name=adapter_name, save_embedding_layers=False)
    more, own = _embeddings(model, adapter_name, tensors.keys() - state.keys())
    try:
        _check_embeddings(files, {name: more[name] for name in own}, tensors, fresh)
        check_shapes(files.folder, given, {k: tuple(t.shape) for k, t in {**state, **more}.items()})
        set_peft_model_state_dict(model, tensors, adapter_name)
    except AdaptkitError:
        if fresh:
            model.unload()
        else:
            model.delete_adapter(adapter_name)
        raise
    return model


def _embedding_paths(bare: Any) -> tuple[str, ...]:
    """How the names of tensors of the embeddings and the output map begin."""
    maps = (bare.get_input_embeddings(), bare.get_output_embeddings())
    return tuple(
        f"base_model.model.{path}."
        for path, module in bare.named_modules()
        if any(module is one for one in maps if one is not None)
    )


def _embeddings(
    model: peft.PeftModel, adapter_name: str, names: set[str]
) -> tuple[dict[str, Tensor], set[str]]:
    """What PEFT writes beside an adapter, under these names, and which of it is the base's own."""
    if not names:
        return {}, set()
    whole = get_peft_model_state_dict(model, adapter_name=adapter_name, save_embedding_layers=True)
    bare: Any = model.get_base_model()
    maps = (bare.get_input_embeddings(), bare.get_output_embeddings())
    own = {
        tensor.data_ptr()
        for module in maps
        if module is not None
        for tensor in base_module(module).parameters(recurse=False)
    }
    found = {name: whole[name] for name in names if name in whole}
    return found, {name for name, tensor in found.items() if tensor.data_ptr() in own}


def _check_embeddings(
    files: AdapterFiles, given: dict[str, Tensor], tensors: dict[str, Tensor], fresh: bool
) -> None:
    """Refuse embeddings of another size, or others below the adapters that are there already."""
    for name, own in given.items():
        stored = tensors[name]
        if stored.shape != own.shape:
            raise AdaptkitError(
                f"{files.folder / WEIGHTS} holds {name} of {stored.shape[0]} tokens, this base has "
                f"{own.shape[0]}: base.resize_token_embeddings({stored.shape[0]}) first."
            )
        if not fresh and not torch.equal(stored.to(own.device, own.dtype), own):
            raise AdaptkitError(
                f"{files.folder / WEIGHTS} holds other embeddings than this base ({name}), and the "
                "adapters that the base has already would read them too: load it alone."
            )
