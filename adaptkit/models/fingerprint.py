"""A fingerprint of a base: what its weights are, in a few kilobytes.

It does not depend on the head, the dtype in which the base is loaded, or quantization (then it is
read from the checkpoint's files, or from the packed bytes of a checkpoint stored quantized). It
names the coarsest dtype that holds the base's numbers, so bf16 weights loaded in fp32 keep their
fingerprint, and it has

    two numbers       of every weight inside the layers: all that version 1 has
    three checksums   of every weight inside the layers, embedding and norm: of all its numbers in
                      that dtype, and of every 8th row rounded to fp16 and to bf16

Bases of one dtype are the same if all checksums in it agree. Between fp32 and a half precision
those of the rounded rows must agree. Between the two half precisions, and with version 1, the
numbers decide, up to the rounding of the coarser dtype. Of very large weights every k-th row is
read.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import re
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from adaptkit.errors import AdaptkitError
from adaptkit.models.backbone import backbone_of, base_module, base_modules
from adaptkit.models.quantization import is_packed

_IN_A_LAYER = re.compile(r"\.\d+\.")

_PER_TENSOR = 2

_ROUNDING = {"float32": 2**-23, "float16": 2**-10, "bfloat16": 2**-7}
_HALVES = ("float16", "bfloat16")
_SUMS = ("exact", *_HALVES)  # the checksums of a weight

_EVERY = 8  # rows of which one is rounded
_MOST_IN_LAYERS, _MOST_OUTSIDE = 2**22, 2**26  # numbers of one weight that are read

_IN_LAYERS = "the weights of its layers differ"

Reader = Callable[[str], Tensor | None]


@dataclass(frozen=True)
class _Fingerprint:
    """dtype: the coarsest that holds all numbers. numbers: NaN where a weight cannot be read.

    layers: `(3, weights)` checksums, see `_SUMS`, 0 where a weight cannot be read; None in
    version 1.
    outside: a checksum of each name -> its checksums.
    """

    dtype: str
    numbers: np.ndarray
    layers: np.ndarray | None = None
    outside: np.ndarray | None = None

    def outside_by_name(self, column: int) -> dict[int, int]:
        """The checksums that are known."""
        assert self.outside is not None
        return {int(row[0]): int(row[1 + column]) for row in self.outside if row[1 + column]}

    def __str__(self) -> str:
        arrays = [self.numbers.astype("<f4")]
        arrays += [part.astype("<u4") for part in (self.layers, self.outside) if part is not None]
        version = "1" if self.layers is None else "2"
        packed = (base64.b64encode(array.tobytes()).decode() for array in arrays)
        return ":".join((version, self.dtype, *packed))


def fingerprint(
    model: Any, checkpoint: list[Path] | None = None, head: Iterable[str] | None = None
) -> str:
    """The fingerprint of `model` (any head, adapted or not) as a string.

    Args:
        checkpoint: the safetensors files that it was loaded from; read for what is quantized or
            offloaded.
        head: paths of modules that the checkpoint did not hold; by default what `load_base` noted.
    """
    model = model.get_base_model() if hasattr(model, "get_base_model") else model
    layers, outside = _weights(model, head)
    read = _memory_reader(layers | outside)
    if checkpoint and not all(map(_is_readable, (layers | outside).values())):
        read = _file_reader(checkpoint, backbone_of(model)[1])
    names = sorted(layers)
    numbers = np.array([_numbers(name, read(name)) for name in names], "<f4").reshape(-1)
    dtype = _dtype((layers | outside).values(), numbers)
    inside = [_checksums(read(name), dtype, _MOST_IN_LAYERS) for name in names]
    around = [
        (zlib.crc32(name.encode()), *_checksums(read(name), dtype, _MOST_OUTSIDE))
        for name in sorted(outside)
    ]
    columns = np.array(inside, np.uint32).reshape(-1, len(_SUMS)).T
    rows = np.array(around, np.uint32).reshape(-1, 1 + len(_SUMS))
    return str(_Fingerprint(dtype, numbers, columns, rows))


def _dtype(weights: Iterable[Tensor], numbers: np.ndarray) -> str:
    """The dtype that holds the base's numbers; fp16 is told from its memory alone."""
    in_memory = {tensor.dtype for tensor in weights}
    if in_memory == {torch.float16}:
        return "float16"
    if not len(numbers):  # a base without numbered layers
        return "bfloat16" if in_memory == {torch.bfloat16} else "float32"
    return _coarsest(numbers)


def _coarsest(values: np.ndarray) -> str:
    """The coarsest dtype that represents the numbers exactly."""
    numbers = torch.from_numpy(values[np.isfinite(values)])
    by_rounding = sorted(_ROUNDING, key=_ROUNDING.__getitem__, reverse=True)
    return next(
        name
        for name in by_rounding
        if torch.equal(numbers.to(getattr(torch, name)).float(), numbers)
    )


def _checksums(tensor: Tensor | None, dtype: str, most: int) -> tuple[int, ...]:
    """CRC-32 of a weight in `dtype`, and of its rounded rows; 0 if it cannot be read."""
    if tensor is None or not tensor.numel():
        return (0,) * len(_SUMS)
    rows = tensor.detach()
    rows = rows.reshape(-1, rows.shape[-1]) if rows.ndim > 1 else rows.reshape(1, -1)
    rows = rows[:: -(-rows.numel() // most)].cpu()
    start = zlib.crc32(str(tuple(tensor.shape)).encode())

    def checksum(part: Tensor) -> int:
        return zlib.crc32(part.contiguous().view(torch.uint8).numpy().data, start) or 1

    if not rows.dtype.is_floating_point:  # packed by quantization
        return (checksum(rows),) * len(_SUMS)
    few = rows[::_EVERY]
    return (
        checksum(rows.to(getattr(torch, dtype))),
        *(checksum(few.to(getattr(torch, half))) for half in _HALVES),
    )


def same_base(one: str, other: str) -> bool:
    """True if two fingerprints belong to the same base.

    Raises:
        AdaptkitError: one of them is no fingerprint.
    """
    return not difference(one, other)


def difference(one: str, other: str) -> str:
    """What differs between the bases of two fingerprints, in words; empty if they are the same.

    Raises:
        AdaptkitError: one of them is no fingerprint.
    """
    first, second = _read(one), _read(other)
    if len(first.numbers) != len(second.numbers):
        return "its layers have another shape"
    if first.layers is None or second.layers is None:
        return "" if _close(first, second) else _IN_LAYERS
    dtypes = {first.dtype, second.dtype}
    if dtypes == {*_HALVES}:  # each may be a rounding of the other one, or both of fp32
        return "" if _close(first, second) else _IN_LAYERS
    column = 0 if len(dtypes) == 1 else _SUMS.index((dtypes - {"float32"}).pop())
    mine, theirs = first.layers[column], second.layers[column]
    known = (mine != 0) & (theirs != 0)
    if known.sum() < len(known) / 4 or (mine != theirs)[known].any():
        return _IN_LAYERS
    mine, theirs = first.outside_by_name(column), second.outside_by_name(column)
    if any(mine[name] != theirs[name] for name in mine.keys() & theirs.keys()):
        return "its embeddings differ, or norms outside of its layers"
    return ""


def _close(one: _Fingerprint, other: _Fingerprint) -> bool:
    """True if the numbers agree, up to rounding where the dtypes differ."""
    values, other_values = one.numbers, other.numbers
    known = np.isfinite(values) & np.isfinite(other_values)
    if known.sum() < len(values) / 4:
        return False
    if one.dtype == other.dtype:
        return bool((values == other_values)[known].all())
    rounding = max(_ROUNDING[one.dtype], _ROUNDING[other.dtype])
    close = (
        np.abs(values - other_values)
        <= rounding * np.maximum(np.abs(values), np.abs(other_values)) + 1e-7
    )
    return bool(close[known].all())


def _read(text: str) -> _Fingerprint:
    try:
        version, dtype, *packed = text.split(":", 5)
        if dtype not in _ROUNDING or {"1": 1, "2": 3}.get(version) != len(packed):
            raise ValueError
        arrays = [
            np.frombuffer(base64.b64decode(part, validate=True), kind)
            for part, kind in zip(packed, ("<f4", "<u4", "<u4"), strict=False)
        ]
        if version == "1":
            return _Fingerprint(dtype, arrays[0])
        layers = arrays[1].reshape(len(_SUMS), len(arrays[0]) // _PER_TENSOR)
        return _Fingerprint(dtype, arrays[0], layers, arrays[2].reshape(-1, 1 + len(_SUMS)))
    except (ValueError, binascii.Error):
        raise AdaptkitError(
            f"{text[:40]!r} is no fingerprint of a base: those begin with 2:float32: or "
            "another version and dtype."
        ) from None


def _weights(model: Any, head: Iterable[str] | None) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The base's own weights, inside and outside of numbered layers, by names in a bare backbone.

    Outside, only embeddings and norms are sure to be the same in every task model over one base:
    adapters, heads, poolers and what the checkpoint did not hold (`head`) are not.
    """
    prefix = backbone_of(model)[1]
    record = getattr(model, "adaptkit_base", None)
    new = tuple(
        f"{path}." for path in (head if head is not None else record.head if record else ())
    )
    modules = base_modules(model)
    always, merged = _embeddings_and_norms(model, modules), _before_merging(model)
    layers: dict[str, Tensor] = {}
    outside: dict[str, Tensor] = {}
    seen: set[int] = set()
    for path, module in modules.items():
        own = merged.get(id(module)) or dict(module.named_parameters(recurse=False))
        for name, tensor in ((f"{path}.{key}", tensor) for key, tensor in own.items()):
            if id(tensor) in seen:
                continue
            seen.add(id(tensor))
            if _IN_A_LAYER.search("." + name):
                layers[name.removeprefix(prefix)] = tensor
            elif id(module) in always and name.startswith(prefix) and not name.startswith(new):
                outside[name.removeprefix(prefix)] = tensor
    return layers, outside


def _embeddings_and_norms(model: Any, modules: dict[str, torch.nn.Module]) -> set[int]:
    """The ids of embeddings and norms that are not in a pooler."""
    found = [
        module
        for path, module in modules.items()
        if (isinstance(module, torch.nn.Embedding) or "Norm" in type(module).__name__)
        and "pooler" not in path.split(".")
    ]
    with contextlib.suppress(AttributeError, NotImplementedError):
        found.append(base_module(model.get_input_embeddings()))  # of images, a convolution
    return {id(part) for module in found for part in module.modules()}


def _before_merging(model: Any) -> dict[int, dict[str, Tensor]]:
    """The base's own tensors of each module that an adapter is merged into, by the module's id."""
    kept = ((module, getattr(module, "weights_before_merging", {})) for module in model.modules())
    return {id(base_module(module)): tensors for module, tensors in kept if tensors}


def _positions(name: str, numel: int) -> list[int]:
    return [zlib.crc32(f"{name}#{i}".encode()) % numel for i in range(_PER_TENSOR)]


def _numbers(name: str, tensor: Tensor | None) -> list[float]:
    if tensor is None:
        return [float("nan")] * _PER_TENSOR
    flat = tensor.detach().reshape(-1)
    return flat[torch.tensor(_positions(name, flat.numel()), device=flat.device)].float().tolist()


def _memory_reader(tensors: dict[str, Tensor]) -> Reader:
    def read(name: str) -> Tensor | None:
        tensor = tensors[name]
        return tensor if _is_readable(tensor) else None

    return read


def _is_readable(tensor: Tensor) -> bool:
    """Whether a weight's numbers are in memory; bitsandbytes may repack its own when in use."""
    return not (tensor.is_meta or is_packed(tensor))


def _file_reader(files: list[Path], prefix: str) -> Reader:
    from safetensors import safe_open

    where: dict[str, tuple[Path, str]] = {}
    for file in files:
        with safe_open(file, "pt") as tensors:
            names = tensors.keys()
            where |= {name.removeprefix(prefix): (file, name) for name in names}

    def read(name: str) -> Tensor | None:
        if name not in where:
            return None
        file, key = where[name]
        with safe_open(file, "pt") as tensors:
            return tensors.get_tensor(key)

    return read


def checkpoint_files(folder: Path) -> list[Path]:
    """The safetensors files of a checkpoint folder, or an empty list."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        names = set(json.loads(index.read_text("utf-8"))["weight_map"].values())
        return [folder / name for name in sorted(names)]
    whole = folder / "model.safetensors"
    return [whole] if whole.is_file() else []
