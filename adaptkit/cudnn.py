"""Attention on GPUs without cuDNN's plans, where batches have many lengths.

On Hopper and Blackwell GPUs torch hands attention in half precision to cuDNN first. That makes a plan for every shape it has not
seen, which takes a tenth of a second or more each way, where the kernel itself takes microseconds (`benchmarks/new_shapes.py`).
Batches of texts, and texts that grow while they are written, keep bringing new shapes. Torch's other kernels need no plan.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_lock = threading.Lock()  # torch has one switch for all threads
_inside = 0
_before = True


@contextmanager
def no_plans() -> Iterator[None]:
    """Attention leaves cuDNN out until the last block that asked for it ends, in all threads; also a decorator."""
    global _inside, _before
    with _lock:
        if not _inside:
            _before = torch.backends.cuda.cudnn_sdp_enabled()
            torch.backends.cuda.enable_cudnn_sdp(False)
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside:
                torch.backends.cuda.enable_cudnn_sdp(_before)
