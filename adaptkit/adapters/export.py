"""Merge an adapter into its base: an ordinary transformers model, for tools without adapters."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch

from adaptkit.adapters.card import existing_adapter, existing_card
from adaptkit.adapters.files import all_finite
from adaptkit.adapters.full import save_full
from adaptkit.adapters.save_load import load_adapter
from adaptkit.errors import AdaptkitError
from adaptkit.models.backbone import base_modules
from adaptkit.models.quantization import is_packed
from adaptkit.models.tokenizer import align_padding, load_tokenizer
from adaptkit.utils.output_folder import check_empty


def export(folder: str | Path, output_dir: str | Path, dtype: str = "auto") -> Any:
    """Write a folder that `from_pretrained` loads, with the tokenizer.

    Its card lets adaptkit answer with it as with the adapter.

    Args:
        folder: an adapter saved by adaptkit.
        dtype: dtype of the saved weights; "auto": the base's own.

    Returns:
        The merged model.

    Raises:
        AdaptkitError: the folder holds no adapter, the method is not a linear change of the base's
            weights, or `output_dir` is not empty.
    """
    folder, output_dir = existing_adapter(Path(folder)), Path(output_dir)
    card = existing_card(folder)
    check_empty(output_dir)
    wanted = _dtype(dtype)
    if card.base is None:
        raise AdaptkitError(
            f"{folder} does not say what its base is, so there is nothing to merge it into."
        )
    model = load_adapter(folder, quantize="none", base_dropout=True)
    if any(map(is_packed, model.parameters())):
        raise AdaptkitError(
            f"{card.base} is stored quantized: rounding would change merged weights, so nothing "
            "is merged."
        )
    stored = model.get_base_model().adaptkit_base.stored_in or model.dtype
    if not hasattr(model, "merge_and_unload"):  # PEFT's prompt learning methods
        raise AdaptkitError(
            f"{folder} cannot be merged: {card.method} adds to what the model reads."
        )
    modules = base_modules(model.get_base_model())
    without_bias = [path for path, one in modules.items() if getattr(one, "bias", 0) is None]
    try:
        whole = model.float().merge_and_unload()
    except (NotImplementedError, ValueError) as problem:  # some of PEFT's other methods cannot
        raise AdaptkitError(
            f"{folder} cannot be merged: {card.method} is no change of the base's weights "
            f"({problem})."
        ) from problem
    if new := [path for path in without_bias if modules[path].bias is not None]:
        raise AdaptkitError(
            f"{folder} cannot be exported: {card.method} gives {new[0]} a bias, and "
            f"{type(whole).__name__} has none there, so transformers would leave it out. Keep it "
            "as an adapter, or train one that adds no bias, such as lora."
        )
    whole = whole.to(stored if wanted is None else wanted)
    if bad := [name for name, one in whole.named_parameters() if not all_finite(one.detach())]:
        raise AdaptkitError(
            f"{folder} cannot be merged: {bad[0]} would hold values that are not finite in "
            f"{whole.dtype}."
        )
    tokenizer = load_tokenizer(card.base, card.revision)
    align_padding(whole, tokenizer)
    save_full(
        whole, tokenizer, output_dir, dataclasses.replace(card, quantize=None, weights_sha256=None)
    )
    return whole


def _dtype(name: str) -> torch.dtype | None:
    known = {
        "auto": None,
        "float32": torch.float32,
        "float16": torch.float16,
        "bfloat16": torch.bfloat16,
    }
    if name not in known:
        raise AdaptkitError(f"--dtype is {', '.join(known)}; it got {name!r}.")
    return known[name]
