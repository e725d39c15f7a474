"""Feature-distillation losses.

The teacher runs once; the outputs of its layers are stored by text.
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
    """The texts of a batch by their tokens; other inputs of the two models may differ."""
    texts = BatchKeys.read(
        (), {name: batch[name] for name in ("input_ids", "attention_mask") if name in batch}
    )
    assert texts is not None
    return texts


def teacher_states(texts: BatchKeys, cache: ActivationCache) -> Tensor:
    """The stored teacher states of a batch, `(texts, tokens, width)`.

    Raises:
        AdaptkitError: the teacher has not read one of the texts.
    """
    states = texts.find(cache)
    if states is None:
        raise AdaptkitError(
            "the teacher has not read these tokens: the student must have its tokenizer, its "
            "--max_seq_length, its --max_target_length "
            "where it rewrites texts and its --doc_stride where long ones are cut into windows."
        )
    return states


def token_mask(batch: dict[str, Tensor]) -> Tensor:
    """Boolean mask of the tokens that are not padding, `(texts, tokens)`."""
    return (
        batch["attention_mask"].bool()
        if "attention_mask" in batch
        else torch.ones_like(batch["input_ids"], dtype=torch.bool)
    )


class FeatureLoss:
    """A loss between layers of a student and layers of its teacher.

    layers: the teacher's layer indices from 0, one per layer of the student. weight: factor on this
    loss. extra_outputs: outputs requested from both models besides their logits.

    Raises:
        AdaptkitError: the weight is negative or not a number.
    """

    extra_outputs: ClassVar[dict[str, Any]] = {}

    def __init__(self, layers: Sequence[int], weight: float):
        if not 0 <= weight < float("inf"):
            raise AdaptkitError(
                f"the weight of a feature loss is a number from 0 on, not {weight}."
            )
        self.layers, self.weight, self.cache = list(layers), weight, ActivationCache()

    def teaching(self, model: Any) -> AbstractContextManager[Any]:
        """Context for the teacher's run."""
        return nullcontext()

    def keep(self, outputs: Any, batch: dict[str, Tensor]) -> None:
        """Store the outputs of the teacher's layers for a batch."""
        raise NotImplementedError

    def learning(self, model: Any) -> AbstractContextManager[Any]:
        """Context for the student's training."""
        raise NotImplementedError

    def loss(self, outputs: Any, batch: dict[str, Tensor]) -> Tensor:
        """The loss of each text, `(texts,)`.

        Raises:
            AdaptkitError: the teacher has not read a text.
        """
        raise NotImplementedError
