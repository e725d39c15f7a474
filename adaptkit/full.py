"""Training all weights instead of an adapter: `--method full`. The result is an ordinary transformers model with a task card."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from adaptkit.cards import CARD, TaskCard, write_json
from adaptkit.files import new_folder
from adaptkit.versions import versions

FULL = "full"
MODEL = "model.safetensors"


def unfreeze(model: Any) -> Any:
    """All weights of a model, to be trained in fp32."""
    return model.float().requires_grad_(True)


def save_full(model: Any, tokenizer: Any, folder: Path, card: TaskCard) -> None:
    """Write model, tokenizer and card to `folder`, in one step. The card's base is the folder itself, wherever it is moved."""
    known = {"method": FULL, "model_class": type(model).__name__, "base": ".", "versions": versions()}
    with new_folder(folder) as staged:
        model.save_pretrained(staged)
        tokenizer.save_pretrained(staged)
        write_json(staged / CARD, dataclasses.asdict(dataclasses.replace(card, **known)))
