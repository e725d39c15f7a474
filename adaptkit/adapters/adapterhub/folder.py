"""Read a folder as AdapterHub's library saves it: configurations and tensors, unpickling nothing.

adapter_config.json   what the adapter is: its method under `config`, its base, its own name
adapter.safetensors   its weights, or `pytorch_adapter.bin`: a state dict, read with `weights_only`
head_config.json      a prediction head, with `model_head.safetensors` or `pytorch_model_head.bin`

A weight is called `bert.encoder.layer.0.output.adapters.NAME.adapter_up.weight`: the module that
owns it, its kind, the adapter's name, and its name inside.
"""

from __future__ import annotations

import pickle
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from adaptkit.adapters.card import CONFIG
from adaptkit.adapters.files import FLOATS, all_finite, is_adapterhub
from adaptkit.errors import AdaptkitError, nearest_beside
from adaptkit.utils.json_files import read_json

ADAPTER = ("adapter.safetensors", "pytorch_adapter.bin")
HEAD = ("model_head.safetensors", "pytorch_model_head.bin")
FUSION = "adapter_fusion_config.json"
HEAD_CONFIG = "head_config.json"

_LEGACY = {  # names of version 1 -> names since
    "attention_text_task_adapters": "adapters",
    "attention_text_lang_adapters": "adapters",
    "layer_text_task_adapters": "adapters",
    "layer_text_lang_adapters": "adapters",
    "invertible_lang_adapters": "invertible_adapters",
}
_KINDS = (
    *("adapters", "loras", "prefix_tunings", "prefix_gates"),
    *("invertible_adapters", "refts", "prompt_tunings", "shared_parameters"),
)

# (kind, owner) -> the tensors there, by their names inside
Groups = dict[tuple[str, str], dict[str, Tensor]]


@dataclass
class SavedHead:
    """A prediction head: its configuration, and its tensors by their names in that library."""

    config: dict[str, Any]
    tensors: dict[str, Tensor]


@dataclass
class SavedAdapter:
    """What a folder holds. `content`: `adapter_config.json`, of which `config` is the method."""

    folder: Path
    content: dict[str, Any]
    config: dict[str, Any]
    groups: Groups = field(default_factory=dict)
    head: SavedHead | None = None

    def refused(self, reason: str) -> AdaptkitError:
        """The error for an adapter that cannot be converted."""
        return AdaptkitError(f"{self.folder} cannot be converted: {reason}")


def read_folder(folder: Path) -> SavedAdapter:
    """Read an adapter and its head.

    Raises:
        AdaptkitError: the folder holds no adapter of AdapterHub's, or a file is broken.
    """
    if not folder.is_dir():
        raise AdaptkitError(f"there is no adapter folder {folder}.{nearest_beside(folder)}")
    if not (folder / CONFIG).is_file():
        what = "an AdapterFusion" if (folder / FUSION).is_file() else "no adapter of AdapterHub's"
        raise AdaptkitError(f"{folder} holds {what}: it has no {CONFIG}.")
    content = read_json(folder / CONFIG)
    if not is_adapterhub(content):
        hint = "it is PEFT's: adaptkit loads it as it is" if "peft_type" in content else "no method"
        raise AdaptkitError(f"{folder / CONFIG} is not AdapterHub's ({hint}).")
    saved = SavedAdapter(folder, content, _object(content, "config", folder / CONFIG))
    saved.groups = _grouped(saved, read_tensors(folder, ADAPTER))
    if (folder / HEAD_CONFIG).is_file():
        saved.head = SavedHead(read_json(folder / HEAD_CONFIG), read_tensors(folder, HEAD))
    return saved


def _object(content: dict[str, Any], key: str, path: Path) -> dict[str, Any]:
    if not isinstance(content[key], dict):
        raise AdaptkitError(f"{path}: {key} should be an object; it is {str(content[key])[:80]!r}.")
    return content[key]


def _grouped(saved: SavedAdapter, tensors: dict[str, Tensor]) -> Groups:
    """The tensors by their kind and owner, without the adapter's name."""
    name = str(saved.content.get("name", ""))
    pattern = re.compile(rf"(?:(.+)\.)?({'|'.join(_KINDS)})\.{re.escape(name)}\.(.+)")
    groups: Groups = {}
    for key, tensor in tensors.items():
        for old, new in _LEGACY.items():
            key = key.replace(old, new)
        found = pattern.fullmatch(key)
        if found is None:
            raise saved.refused(f"the weight {key!r} belongs to no adapter called {name!r}.")
        groups.setdefault((found[2], found[1] or ""), {})[found[3]] = tensor
    return groups


def read_tensors(folder: Path, names: tuple[str, str]) -> dict[str, Tensor]:
    """The tensors of the first of these files that exists, in fp32.

    Raises:
        AdaptkitError: there is none of them, it is broken, or holds more than finite numbers.
    """
    path = next((folder / name for name in names if (folder / name).is_file()), None)
    if path is None:
        raise AdaptkitError(f"{folder} has no weights: neither {' nor '.join(names)}.")
    try:
        pickled = path.suffix == ".bin"
        found = (
            torch.load(path, map_location="cpu", weights_only=True)
            if pickled
            else load(path.read_bytes())
        )
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as problem:
        raise AdaptkitError(
            f"{path} is not a whole file of weights ({str(problem).splitlines()[0][:200]})."
        ) from problem
    if not isinstance(found, dict):
        raise AdaptkitError(f"{path} holds no state dict but a {type(found).__name__}.")
    for key, tensor in found.items():
        if not isinstance(tensor, Tensor) or tensor.dtype not in FLOATS or not all_finite(tensor):
            raise AdaptkitError(f"{path}: {str(key)[:200]} is no tensor of finite numbers.")
    return {str(key): tensor.float() for key, tensor in found.items()}
