"""Whether a model divides its loss by the number of items of a whole optimizer step.

Trainer hands `num_items_in_batch` to every model whose `forward` takes any keyword, and then trusts
that the loss was divided by it: it neither divides by the accumulated batches nor averages over the
processes. Most task models of transformers (5.23) ignore it and average over their own batch; their
losses and gradients then are as many times too high.
"""

from __future__ import annotations

import inspect
from typing import Any

# Of transformers' shared heads, these do not hand it to their loss function.
_IGNORED_BY = ("ForSequenceClassification", "ForTokenClassification")


def counts_items(model: Any) -> bool:
    """True if the loss of a transformers model is divided by `num_items_in_batch`."""
    code = inspect.unwrap(type(model).forward).__code__
    used = "loss_function" in code.co_names or "num_items_in_batch" in code.co_varnames
    return used and not type(model).__name__.endswith(_IGNORED_BY)


def note_loss_items(model: Any) -> None:
    """Tell Trainer whether a model counts items, unless its class does."""
    if not hasattr(model, "accepts_loss_kwargs"):
        model.accepts_loss_kwargs = counts_items(model)
