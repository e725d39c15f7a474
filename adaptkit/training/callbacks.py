"""Trainer callbacks used in every training."""

from __future__ import annotations

import numpy as np
from transformers import TrainerCallback

from adaptkit.errors import AdaptkitError


class StopOnBadLoss(TrainerCallback):
    """Stop with an error if the loss is not a number: it never recovers."""

    def on_log(self, args, state, control, logs=None, **kwargs):
        loss = (logs or {}).get("loss")
        if loss is not None and not np.isfinite(loss):
            raise AdaptkitError(
                f"the training loss is {loss} at step {state.global_step}: lower "
                f"--learning_rate, now {args.learning_rate}, "
                "or train with --bf16 false."
            )
