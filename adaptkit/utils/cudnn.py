"""Attention on GPUs without cuDNN's plans, where batches have many lengths.

On an H100 torch hands attention in half precision to cuDNN first. That makes a plan for every shape
it has not seen: a tenth of a second for a batch that trains, where the kernels take less than a
millisecond (`benchmarks/new_shapes.py`). Batches of texts, and texts that grow while they are
written, keep bringing new shapes. Torch's other kernels need none; over long texts they are slower.
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
    """Attention leaves cuDNN out until the last block that asked for it ends, in all threads; also
    a decorator.
    """
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
    """No plans for texts of these lengths, if they are many; blocks of one length keep torch's own
    choice.
    """
    return disable_cudnn_sdpa() if len(np.unique(lengths)) > FEW else nullcontext()


def _others() -> bool:
    """Whether torch may use other kernels: a caller may have asked for cuDNN alone."""
    cuda = torch.backends.cuda
    return cuda.flash_sdp_enabled() or cuda.mem_efficient_sdp_enabled() or cuda.math_sdp_enabled()
