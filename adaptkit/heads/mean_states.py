"""The frozen base's own view of a text: the mean of its last hidden states."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch

from adaptkit.utils.cudnn import disable_cudnn_sdpa

LENGTH = 128  # tokens that are read of a text


@torch.no_grad()
@disable_cudnn_sdpa()
def mean_states(
    network: Any,
    tokenizer: Any,
    texts: Sequence[str],
    batch_size: int = 32,
    tokenizing: AbstractContextManager | None = None,
) -> np.ndarray:
    """One vector a text, `(texts, width)` in fp32.

    Args:
        network: a transformers model without a head whose adapters, if any, are off; the encoder of
            one that has both.
        texts: of which the first 128 tokens are read.
        tokenizing: held while the tokenizer is used, if others use it, too.
    """
    if network.config.is_encoder_decoder:
        network = network.get_encoder()
    device = next(network.parameters()).device
    order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
    found: list[Any] = [None] * len(texts)
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        with tokenizing or nullcontext():
            inputs = tokenizer(
                [texts[index] or " " for index in chosen],
                padding=True,
                truncation=True,
                max_length=LENGTH,
                return_tensors="pt",
                return_token_type_ids=False,
            ).to(device)
        states = network(**inputs)[0].float()
        read = inputs["attention_mask"][..., None]
        means = (states * read).sum(1) / read.sum(1).clamp(min=1)
        for index, mean in zip(chosen, means.cpu().numpy(), strict=True):
            found[index] = mean
    return np.stack(found)
