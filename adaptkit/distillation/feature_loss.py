"""What draws the inside of a student to that of its teacher.

The teacher runs once; what its layers gave is kept by the text.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar

import torch
from torch import Tensor

from adaptkit.errors import AdaptkitError
from adaptkit.training.activation_cache import ActivationCache, BatchKeys


def batch_keys(batch: dict[str, Tensor]) -> BatchKeys:
    """The texts of a batch by their tokens; what else the two models read may differ."""
    texts = BatchKeys.read(
        (), {name: batch[name] for name in ("input_ids", "attention_mask") if name in batch}
    )
    assert texts is not None
    return texts


def teacher_states(texts: BatchKeys, cache: ActivationCache) -> Tensor:
    """What a teacher is known to hold of a batch, `(texts, tokens, width)`.

    Raises:
        AdaptkitError: it has not read one of the texts.
    """
    told = texts.find(cache)
    if told is None:
        raise AdaptkitError(
            "the teacher has not read these tokens: the student wants its tokenizer, its "
            "--max_seq_length, its --max_target_length "
            "where it rewrites texts and its --doc_stride where long ones are cut into windows."
        )
    return told


def token_mask(batch: dict[str, Tensor]) -> Tensor:
    """Which tokens are no padding, `(texts, tokens)` of truth values."""
    return (
        batch["attention_mask"].bool()
        if "attention_mask" in batch
        else torch.ones_like(batch["input_ids"], dtype=torch.bool)
    )


class FeatureLoss:
    """Layers of a student, drawn to those of a teacher.

    layers: the teacher's, by number from 0, one for each layer of the student. weight: times its
    loss is added to what else is
    learned. asks: what both models are asked for besides their logits.

    Raises:
        AdaptkitError: a weight that is negative or no number.
    """

    extra_outputs: ClassVar[dict[str, Any]] = {}

    def __init__(self, layers: Sequence[int], weight: float):
        if not 0 <= weight < float("inf"):
            raise AdaptkitError(f"the weight of a pull is a number from 0 on, not {weight}.")
        self.layers, self.weight, self.cache = list(layers), weight, ActivationCache()

    def teaching(self, model: Any) -> AbstractContextManager[Any]:
        """The teacher, while it runs."""
        return nullcontext()

    def keep(self, outputs: Any, batch: dict[str, Tensor]) -> None:
        """Keep what the teacher's layers gave for a batch."""
        raise NotImplementedError

    def learning(self, model: Any) -> AbstractContextManager[Any]:
        """The student, while it trains."""
        raise NotImplementedError

    def loss(self, outputs: Any, batch: dict[str, Tensor]) -> Tensor:
        """How far the student is away for each text, `(texts,)`.

        Raises:
            AdaptkitError: a text that the teacher has not read.
        """
        raise NotImplementedError
