"""Write an adapter as PEFT's own files, for PEFT, vLLM and others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from adaptkit.adapters.card import TaskCard, existing_adapter, read_card
from adaptkit.adapters.files import read_adapter
from adaptkit.adapters.peft_lora import is_plain_lora
from adaptkit.adapters.save_load import load_adapter, save_adapter
from adaptkit.errors import AdaptkitError
from adaptkit.methods.grammar import parse_method
from adaptkit.models.load import load_base
from adaptkit.utils.output_folder import check_empty


def export_peft(folder: str | Path, output_dir: str | Path) -> None:
    """Write a plain LoRA in PEFT's format, from a folder that `save_adapter` or a Trainer wrote.

    Raises:
        AdaptkitError: the folder holds no adapter, or one that PEFT has no form for; or its base is
            not there.
    """
    folder, output_dir = existing_adapter(Path(folder)), Path(output_dir)
    check_empty(output_dir)
    card = read_card(folder)
    settings = read_adapter(folder).settings
    method = card.method if card else settings.get("method")
    if not isinstance(method, str) or method.startswith("peft:"):
        raise AdaptkitError(f"{folder} is in PEFT's own format already.")
    if not is_plain_lora(parse_method(method)):
        raise AdaptkitError(
            f"{folder} is {method}, which PEFT has no form for: it knows LoRA without gates. "
            "`adaptkit shrink` makes a LoRA of methods that are linear; `--format transformers` "
            "merges them, and `--format onnx` takes every method."
        )
    model = load_adapter(folder) if card else load_adapter(folder, _base(folder, settings))
    save_adapter(model, output_dir, card=card or TaskCard())


def _base(folder: Path, settings: dict[str, Any]) -> Any:
    """The base that a folder without a card names, with the class that it was trained in."""
    name = settings.get("base_model_name_or_path")
    if not isinstance(name, str):
        raise AdaptkitError(f"{folder} does not say what its base is.")
    kind = (settings.get("auto_mapping") or {}).get("base_model_class")
    return load_base(name, task=kind, revision=settings.get("revision"))
