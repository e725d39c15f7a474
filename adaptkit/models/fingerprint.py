"""A fingerprint of a base: two numbers from every weight of its layers.

It does not depend on the head, the dtype in which the base is loaded, or quantization (then the
numbers come from the checkpoint's files, or from the packed bytes of a checkpoint stored
quantized). It differs between two fine-tunings of one architecture. It names the coarsest dtype
that holds its numbers, so bf16 weights loaded in fp32 keep their fingerprint. Numbers of the same
dtype must be equal; numbers of different dtypes must agree up to the rounding of the coarser one.
"""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from adaptkit.models.backbone import backbone_of, base_module, base_modules

_IN_A_LAYER = re.compile(r"\.\d+\.")

_PER_TENSOR = 2

_ROUNDING = {"float32": 2**-23, "float16": 2**-10, "bfloat16": 2**-7}


def fingerprint(model: Any, checkpoint: list[Path] | None = None) -> str:
    """The fingerprint of `model` (any head, adapted or not) as a string.

    `checkpoint`: the safetensors files that it was loaded from; only needed for quantized models.
    """
    model = model.get_base_model() if hasattr(model, "get_base_model") else model
    names = _layer_weights(model)
    quantized = any(not p.dtype.is_floating_point for p in names.values())
    from_files = (
        _file_reader(checkpoint, backbone_of(model)[1]) if quantized and checkpoint else None
    )
    read = from_files or _memory_reader(names)
    values = [number for name in sorted(names) for number in read(name)]
    return f"1:{_coarsest(values)}:{base64.b64encode(np.asarray(values, '<f4').tobytes()).decode()}"


def _coarsest(values: list[float]) -> str:
    """The coarsest dtype that represents the numbers exactly."""
    numbers = torch.tensor([value for value in values if np.isfinite(value)], dtype=torch.float32)
    by_rounding = sorted(_ROUNDING, key=_ROUNDING.__getitem__, reverse=True)
    return next(
        name
        for name in by_rounding
        if torch.equal(numbers.to(getattr(torch, name)).float(), numbers)
    )


def same_base(one: str, other: str) -> bool:
    """True if two fingerprints belong to the same base."""
    (version, dtype, values), (other_version, other_dtype, other_values) = _read(one), _read(other)
    if version != other_version or len(values) != len(other_values):
        return False
    known = np.isfinite(values) & np.isfinite(other_values)
    if known.sum() < len(values) / 4:
        return False
    if dtype == other_dtype:
        return bool((values == other_values)[known].all())
    rounding = max(_ROUNDING[dtype], _ROUNDING[other_dtype])
    close = (
        np.abs(values - other_values)
        <= rounding * np.maximum(np.abs(values), np.abs(other_values)) + 1e-7
    )
    return bool(close[known].all())


def _read(text: str) -> tuple[str, str, np.ndarray]:
    version, dtype, values = text.split(":")
    return version, dtype, np.frombuffer(base64.b64decode(values), "<f4")


def _layer_weights(model: Any) -> dict[str, Tensor]:
    """The base's own weights inside numbered layers, by their names in a bare backbone."""
    prefix = backbone_of(model)[1]
    found: dict[str, Tensor] = {}
    seen: set[int] = set()
    merged = _before_merging(model)
    for path, module in base_modules(model).items():
        own = merged.get(id(module)) or dict(module.named_parameters(recurse=False))
        for key, tensor in own.items():
            name = f"{path}.{key}"
            if _IN_A_LAYER.search("." + name) and id(tensor) not in seen:
                seen.add(id(tensor))
                found[name.removeprefix(prefix)] = tensor
    return found


def _before_merging(model: Any) -> dict[int, dict[str, Tensor]]:
    """The base's own tensors of each module that an adapter is merged into, by the module's id."""
    kept = ((module, getattr(module, "weights_before_merging", {})) for module in model.modules())
    return {id(base_module(module)): tensors for module, tensors in kept if tensors}


def _positions(name: str, numel: int) -> list[int]:
    return [zlib.crc32(f"{name}#{i}".encode()) % numel for i in range(_PER_TENSOR)]


def _memory_reader(tensors: dict[str, Tensor]) -> Callable[[str], list[float]]:
    def read(name: str) -> list[float]:
        tensor = tensors[name]
        packed = (
            not tensor.dtype.is_floating_point
        )  # bitsandbytes may repack it at the first multiplication
        return [float("nan")] * _PER_TENSOR if packed or tensor.is_meta else _numbers(name, tensor)

    return read


def _numbers(name: str, tensor: Tensor) -> list[float]:
    flat = tensor.detach().reshape(-1)
    return flat[torch.tensor(_positions(name, flat.numel()), device=flat.device)].float().tolist()


def _file_reader(files: list[Path], prefix: str) -> Callable[[str], list[float]]:
    from safetensors import safe_open

    where: dict[str, tuple[Path, str]] = {}
    for file in files:
        with safe_open(file, "pt") as tensors:
            names = tensors.keys()
            where |= {name.removeprefix(prefix): (file, name) for name in names}

    def read(name: str) -> list[float]:
        if name not in where:
            return [float("nan")] * _PER_TENSOR
        file, key = where[name]
        with safe_open(file, "pt") as tensors:
            return _numbers(name, tensors.get_tensor(key))

    return read


def checkpoint_files(folder: Path) -> list[Path]:
    """The safetensors files of a checkpoint folder, or an empty list."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        names = set(json.loads(index.read_text("utf-8"))["weight_map"].values())
        return [folder / name for name in sorted(names)]
    whole = folder / "model.safetensors"
    return [whole] if whole.is_file() else []
