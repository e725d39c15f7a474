"""The linear maps of a captured network, with weights as the processor reads them fastest."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LARGEST, TINY = 127, 1e-30  # of int8; of a divisor


class PlainMap(nn.Module):
    """A map in the form that it has: in fp32 nothing that we measured is faster."""

    def __init__(self, weight: Tensor, bias: Tensor | None):
        super().__init__()
        self._weight, self._bias = weight, bias

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self._weight, self._bias)


class PackedMap(nn.Module):
    """A map in bf16 whose weight is packed for oneDNN, which may apply a gelu as well."""

    def __init__(self, weight: Tensor, bias: Tensor | None, gelu: str | None = None):
        super().__init__()
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight)
        self._bias = bias
        self._after: tuple[str, list[float], str] = (
            ("gelu", [], gelu) if gelu is not None else ("none", [], "")
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise(x, self._weight, self._bias, *self._after)


class QuantizedMap(nn.Module):
    """A map of int8 weights, with a scale for each output, and of tokens in int8, each by its
    largest number: what a token becomes does not depend on those beside it.

    The product is exact. oneDNN wants uint8, so 128 is added. Of torch's operations only those
    here are vectorized; others (a norm, `addcmul` with a scalar, a cast to uint8) take longer than
    the product.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None):
        super().__init__()
        weight = weight.float()
        scales = (weight.abs().amax(1) / LARGEST).clamp_(min=TINY)
        small = (weight / scales[:, None]).round_().to(torch.int8)
        packed = torch.ops.onednn.qlinear_prepack(small, None)
        self._weight = packed, scales, torch.zeros(len(weight), dtype=torch.int32)
        self._bias = bias

    def forward(self, x: Tensor) -> Tensor:
        top = torch.maximum(x.amax(-1, keepdim=True), x.amin(-1, keepdim=True).neg_())
        top.clamp_(min=TINY)
        given = (x * (LARGEST / top)).round_().to(torch.int8).view(torch.uint8).bitwise_xor_(128)
        y = torch.ops.onednn.qlinear_pointwise(
            given, 1 / LARGEST, 128, *self._weight, None, 1.0, 0, torch.float32, "none", [], ""
        )
        return y.mul_(top) if self._bias is None else torch.addcmul(self._bias, y, top, out=y)


class Split(nn.Module):
    """Maps of one input in one product; their outputs are columns of one tensor."""

    def __init__(self, together: nn.Module, widths: Sequence[int]):
        super().__init__()
        self.together, self._widths = together, list(widths)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return self.together(x).split(self._widths, -1)


class Norm(nn.Module):
    """A layer norm."""

    def __init__(
        self, shape: Sequence[int], weight: Tensor | None, bias: Tensor | None, eps: float
    ):
        super().__init__()
        self._given = tuple(shape), weight, bias, eps

    def forward(self, x: Tensor) -> Tensor:
        return torch.layer_norm(x, *self._given)


def packs(dtype: torch.dtype) -> bool:
    """Packed maps are faster than plain ones in this dtype on this processor."""
    ops = torch.ops.mkldnn
    return (
        dtype == torch.bfloat16
        and torch.backends.mkldnn.is_available()
        and hasattr(ops, "_reorder_linear_weight")
        and ops._is_mkldnn_bf16_supported()
    )


def quantizes() -> bool:
    """This processor multiplies int8."""
    return (
        torch.backends.mkldnn.is_available()
        and hasattr(torch.ops.onednn, "qlinear_pointwise")
        and torch.cpu._is_vnni_supported()
    )


def one_map(weight: Tensor, bias: Tensor | None, gelu: str | None = None) -> nn.Module:
    """A map; with `gelu`, the way in which it is computed, followed by it if it is packed."""
    if packs(weight.dtype):
        return PackedMap(weight, bias, gelu)
    return PlainMap(weight, bias)
