"""What a new head would read of texts, in a frozen base or one with an adapter."""

from __future__ import annotations

from typing import Any

import numpy as np

from adaptkit.models.load import load_base
from adaptkit.models.names import load_config
from adaptkit.models.probe import HeadInput
from adaptkit.tasks.sequence import NATIVE, sequence_class
from adaptkit.utils.cudnn import disable_cudnn_sdpa
from adaptkit.utils.terminal import progress


def task_model(base: str, pooling: str = NATIVE) -> Any:
    """A base with a new head for labels, whatever head its checkpoint has."""
    labels = load_config(base).num_labels + 1
    return load_base(base, task=sequence_class(pooling), labels=labels).eval()


@disable_cudnn_sdpa()
def text_features(
    model: Any, tokenizer: Any, texts: list[tuple[str, ...]], batch_size: int = 64
) -> np.ndarray:
    """The input of a task model's new head for each text or pair, `(texts, width)`.

    Args:
        model: from `task_model`, with or without an adapter.
        texts: of which the first 128 tokens are read.
    """
    reads = HeadInput(model)
    order = sorted(range(len(texts)), key=lambda index: sum(map(len, texts[index])))
    found: list[np.ndarray] = [np.zeros(0)] * len(texts)
    for start in progress(range(0, len(order), batch_size), "reading texts", "batches"):
        chosen = order[start : start + batch_size]
        sides = (list(side) for side in zip(*(texts[i] for i in chosen), strict=True))
        inputs = dict(
            tokenizer(*sides, padding=True, truncation=True, max_length=128, return_tensors="pt")
        )
        for index, vector in zip(
            chosen,
            reads({key: value.to(model.device) for key, value in inputs.items()}).cpu(),
            strict=True,
        ):
            found[index] = vector.numpy()
    return np.stack(found)
