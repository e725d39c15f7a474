"""Trainer callbacks that every training has."""

from __future__ import annotations

import numpy as np
from transformers import TrainerCallback

from adaptkit.errors import AdaptkitError


class StopOnBadLoss(TrainerCallback):
    """A loss that is not a number never comes back: stop and say so."""

    def on_log(self, args, state, control, logs=None, **kwargs):
        loss = (logs or {}).get("loss")
        if loss is not None and not np.isfinite(loss):
            raise AdaptkitError(
                f"the training loss is {loss} at step {state.global_step}: lower "
                f"--learning_rate, now {args.learning_rate}, "
                "or train with --bf16 false."
            )
