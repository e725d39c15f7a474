"""What this machine computes in: where its processor would have to emulate a dtype, another one is many times as fast."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from adaptkit.launch import wants_cpu

if TYPE_CHECKING:
    from torch import nn

# What a processor needs for products in a dtype, by its names in torch.
_INSTRUCTIONS = {torch.bfloat16: ("avx512_bf16", "amx_bf16"), torch.float16: ("avx512_fp16", "amx_fp16")}
_SHARE = 0.5  # of the free memory that wider weights may take


def only_cpu() -> bool:
    """Whether models run on the processor: there is no GPU, or it is not wanted."""
    return wants_cpu() or not torch.accelerator.is_available()


def has_instructions(dtype: torch.dtype) -> bool:
    """Whether the processor is known to compute in a dtype."""
    return dtype not in _INSTRUCTIONS or any(_cpu().get(name) for name in _INSTRUCTIONS[dtype])


def emulates(dtype: torch.dtype) -> bool:
    """Whether the processor is known not to compute in a dtype: then torch multiplies number by number. Only x86 is known."""
    return _cpu().get("architecture") == "x86_64" and not has_instructions(dtype)


def _cpu() -> dict[str, Any]:
    return dict(torch.cpu.get_capabilities()) if hasattr(torch.cpu, "get_capabilities") else {}


def emulated(model: nn.Module) -> torch.dtype | None:
    """The dtype of a model's weights that the processor would have to emulate; None: none, or the model lies elsewhere too."""
    return next((tensor.dtype for tensor in _emulated(model)), None)


def widen(model: nn.Module) -> torch.dtype | None:
    """Put a model that lies on a processor in fp32 where it would have to be emulated, if half of the free memory holds that.

    The values stay the same; weights that are quantized stay as they are.

    Returns:
        The dtype that it was in; None where nothing was changed.
    """
    import psutil

    narrow = _emulated(model)
    more = sum(tensor.numel() * (torch.float32.itemsize - tensor.dtype.itemsize) for tensor in narrow)
    if not narrow or more > _SHARE * psutil.virtual_memory().available:
        return None
    before = narrow[0].dtype
    for tensor in narrow:
        tensor.data = tensor.data.float()
    model.config.dtype = torch.float32
    return before


def _emulated(model: nn.Module) -> list[torch.Tensor]:
    tensors = [*model.parameters(), *model.buffers()]
    if any(tensor.device.type != "cpu" for tensor in tensors):  # a part of it lies on a GPU, or on the disk
        return []
    slow = {dtype for dtype in _INSTRUCTIONS if emulates(dtype)}
    return [tensor for tensor in tensors if tensor.dtype in slow]
