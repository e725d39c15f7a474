"""FSDP is for GPUs: on a CPU, accelerate fails over it or leaves it out without a word."""

from __future__ import annotations

import os
from typing import Any

_ASKED = "ACCELERATE_USE_FSDP"  # set by accelerate launch


def leave_out_fsdp(training: Any) -> list[str]:
    """Switch FSDP off if it was asked for on a CPU.

    Args:
        training: Trainer's arguments, which are changed.

    Returns:
        A note that says so, or nothing.
    """
    asked = training.fsdp or os.environ.get(_ASKED, "").lower() in ("true", "1")
    if not asked or training.device.type != "cpu":
        return []
    os.environ[_ASKED] = "false"
    training.fsdp = training.fsdp_plugin_args = None
    return ["FSDP needs GPUs and is not used: on a CPU every process holds the whole base"]
