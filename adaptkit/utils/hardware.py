"""The dtypes that this machine computes in; emulated dtypes are many times slower."""

from __future__ import annotations

import os
import platform
import resource
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from adaptkit.utils.processes import wants_cpu

if TYPE_CHECKING:
    from torch import nn


# Instructions that a processor needs for products in a dtype, by their names in torch and Linux.
_INSTRUCTIONS = {
    torch.bfloat16: ("avx512_bf16", "amx_bf16"),
    torch.float16: ("avx512_fp16", "amx_fp16"),
}

CONTAINER = Path("/sys/fs/cgroup")  # where Linux lists the usable instructions

_SHARE = 0.5  # share of the free memory that wider weights may take


def only_cpu() -> bool:
    """True if models run on the CPU: there is no GPU, or it is disabled."""
    return wants_cpu() or not torch.accelerator.is_available()


def has_instructions(dtype: torch.dtype) -> bool:
    """True if the processor is known to compute in a dtype."""
    return dtype not in _INSTRUCTIONS or any(_cpu().get(name) for name in _INSTRUCTIONS[dtype])


def emulates(dtype: torch.dtype) -> bool:
    """True if the processor is known to lack a dtype, so that torch multiplies number by number.

    Only x86 is known.
    """
    return _cpu().get("architecture") == "x86_64" and not has_instructions(dtype)


def _cpu() -> dict[str, Any]:
    if hasattr(torch.cpu, "get_capabilities"):
        return dict(torch.cpu.get_capabilities())
    flags = Path("/proc/cpuinfo")  # older versions of torch
    if not flags.is_file():
        return {}
    return {"architecture": platform.machine()} | dict.fromkeys(flags.read_text().split(), True)


def free_memory() -> int:
    """Free memory in bytes per process started together, within a container's limit."""
    import psutil

    free = psutil.virtual_memory().available
    limit, used = (CONTAINER / f"memory.{name}" for name in ("max", "current"))
    if limit.is_file() and (most := limit.read_text().strip()).isdigit():
        free = min(free, int(most) - int(used.read_text()))
    return free // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def emulated(model: nn.Module) -> list[torch.Tensor]:
    """The weights whose products the CPU would emulate; empty if a part is not on the CPU."""
    tensors = [*model.parameters(), *model.buffers()]
    if any(tensor.device.type != "cpu" for tensor in tensors):  # on a GPU or on disk
        return []
    slow = {dtype for dtype in _INSTRUCTIONS if emulates(dtype)}
    return [tensor for tensor in tensors if tensor.dtype in slow]


def more_in_fp32(tensors: list[torch.Tensor]) -> int:
    """How many more bytes tensors take in fp32."""
    return sum(
        tensor.numel() * (torch.float32.itemsize - tensor.dtype.itemsize) for tensor in tensors
    )


def upcast_emulated(model: nn.Module) -> torch.dtype | None:
    """Upcast a model on a CPU to fp32 if its dtype would be emulated and memory allows.

    It may take half of the free memory. The values stay the same. Quantized weights stay as they
    are and are multiplied in fp32.

    Returns:
        The previous dtype, or None if no weight was changed.
    """
    module: Any
    for module in model.modules():
        if (dtype := getattr(module, "compute_dtype", None)) and emulates(dtype):  # of bitsandbytes
            module.compute_dtype = torch.float32
    narrow = emulated(model)
    if not narrow or more_in_fp32(narrow) > _SHARE * free_memory():
        return None
    before = narrow[0].dtype
    for tensor in narrow:
        tensor.data = tensor.data.float()
    model.config.dtype = torch.float32
    return before


def peak_memory() -> float:
    """Peak memory of this process in GB: of the GPU if it uses one, else in total."""
    if torch.cuda.is_available() and torch.cuda.max_memory_reserved():
        return round(torch.cuda.max_memory_reserved() / 1e9, 3)
    unit = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9, 3)
