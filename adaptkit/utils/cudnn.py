"""Keep attention off cuDNN's plans on GPUs when batches have many lengths.

On an H100, torch passes half-precision attention to cuDNN first. cuDNN makes a plan for every new
shape: a tenth of a second for a training batch whose kernels take less than a millisecond
(`benchmarks/new_shapes.py`). Batches of texts, and texts that grow during generation, keep
bringing new shapes. Torch's other kernels need no plans; on long texts they are slower.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np
import torch

FEW = 8  # lengths that are worth a plan each

_lock = threading.Lock()  # torch has one switch for all threads

_inside = 0

_before = True


@contextmanager
def disable_cudnn_sdpa() -> Iterator[None]:
    """Disable cuDNN attention in all threads until the last active block ends; also a decorator."""
    global _inside, _before
    with _lock:
        if not _inside:
            _before = torch.backends.cuda.cudnn_sdp_enabled()
            torch.backends.cuda.enable_cudnn_sdp(_before and not _others())
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside:
                torch.backends.cuda.enable_cudnn_sdp(_before)


def attention_for(lengths: np.ndarray) -> AbstractContextManager[Any]:
    """Disable cuDNN attention if the texts have many lengths; otherwise keep torch's choice."""
    return disable_cudnn_sdpa() if len(np.unique(lengths)) > FEW else nullcontext()


def _others() -> bool:
    """True if torch may use other kernels: a caller may have requested cuDNN only."""
    cuda = torch.backends.cuda
    return cuda.flash_sdp_enabled() or cuda.mem_efficient_sdp_enabled() or cuda.math_sdp_enabled()
