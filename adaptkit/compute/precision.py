"""In which precision this processor reads fastest, by measurement."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable

import torch
from torch import Tensor

from adaptkit.compute.maps import PackedMap, packs, quantizes
from adaptkit.errors import AdaptkitError, unknown

INT8 = "int8"  # of the maps in a captured network; the rest is in fp32
COMPUTES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    INT8: torch.float32,
    "auto": None,
}
TOKENS, WIDTH, INNER = 256, 768, 3072  # of the map that is measured
ROUNDS = 5
CLEARLY = 1.5  # times as fast: bf16 costs some accuracy, and gains little elsewhere


def dtype_for(compute: str) -> torch.dtype:
    """The numbers of the base that `compute` asks for.

    Raises:
        AdaptkitError: it is none of `COMPUTES`, or this processor cannot.
    """
    if compute not in COMPUTES:
        raise unknown("compute", str(compute), COMPUTES)
    if compute == INT8 and not quantizes():
        raise AdaptkitError('compute="int8" needs a processor with instructions for it (VNNI).')
    return COMPUTES[compute] or fastest()


@functools.cache
def fastest() -> torch.dtype:
    """bf16 if maps in it are clearly faster on this machine, else fp32.

    Processors that have no instructions for bf16 emulate it, several times as slow as fp32.

    Raises:
        AdaptkitError: there is a GPU, where this is not measured.
    """
    if torch.cuda.is_available():
        raise AdaptkitError('compute="auto" is measured on a CPU; with a GPU name the dtype.')
    if not packs(torch.bfloat16):
        return torch.float32
    x, weight = torch.randn(1, TOKENS, WIDTH), torch.randn(INNER, WIDTH)
    packed, half = PackedMap(weight.bfloat16(), None), x.bfloat16()
    plain = _seconds(lambda: torch.nn.functional.linear(x, weight))
    return torch.bfloat16 if plain > CLEARLY * _seconds(lambda: packed(half)) else torch.float32


@torch.inference_mode()
def _seconds(run: Callable[[], Tensor]) -> float:
    """The shortest of some runs, after one that is not counted."""
    found = []
    for _ in range(1 + ROUNDS):
        start = time.perf_counter()
        run()
        found.append(time.perf_counter() - start)
    return min(found[1:])
