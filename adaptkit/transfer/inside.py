"""Hidden states: a student's layers are drawn to those of its teacher (Romero et al. 2015, arXiv:1412.6550; Jiao et al. 2020,
arXiv:1909.10351). For a text, the mean over pairs of layers of

    sum over its tokens of |map(student) - teacher|^2  /  sum over its tokens of |teacher|^2

Each pair has a linear map of its own, which is learned with the student and thrown away at the end; where the widths are the same
it begins as the identity. The teacher's states come out of its one run and are kept in bf16.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from adaptkit.errors import AdaptkitError
from adaptkit.kept import Kept
from adaptkit.trunk import Texts

MAPS = "adaptkit_maps"  # where the maps are in the student while it trains


def texts_of(batch: dict[str, Tensor]) -> Texts:
    """The texts of a batch by their tokens; what else the two models read may differ."""
    texts = Texts.read((), {name: batch[name] for name in ("input_ids", "attention_mask") if name in batch})
    assert texts is not None
    return texts


def told_of(batch: dict[str, Tensor], kept: Kept) -> Tensor:
    """What a teacher is known to hold of a batch, `(texts, tokens, width)`.

    Raises:
        AdaptkitError: it has not read one of the texts.
    """
    told = texts_of(batch).find(kept)
    if told is None:
        raise AdaptkitError("the teacher has not read these tokens: the student wants its tokenizer and its --max_seq_length.")
    return told


class Inside:
    """What a teacher's layers hold of each text. layers: their numbers, from 0, one for each layer of the student."""

    def __init__(self, layers: Sequence[int], weight: float):
        self.layers, self.weight, self.kept = list(layers), weight, Kept()

    def keep(self, outputs: Any, batch: dict[str, Tensor]) -> None:
        """Keep what the teacher's layers gave for a batch; its outputs hold `hidden_states`."""
        states = torch.cat([outputs.hidden_states[layer + 1] for layer in self.layers], -1).to(torch.bfloat16)
        texts_of(batch).keep(self.kept, states)

    @contextmanager
    def mapped(self, model: Any) -> Iterator[None]:
        """The student with maps to the teacher's widths, which train with it; without them at the end."""
        teacher, own = self.kept.width // len(self.layers), model.config.hidden_size
        maps = nn.ModuleList(nn.Linear(own, teacher) for _ in self.layers)
        if own == teacher:
            for one in maps:
                nn.init.eye_(one.weight)
                nn.init.zeros_(one.bias)
        self._maps = maps.to(next(model.parameters()).device)
        model.add_module(MAPS, self._maps)
        try:
            yield
        finally:
            delattr(model, MAPS)

    def loss(self, states: Sequence[Tensor], batch: dict[str, Tensor]) -> Tensor:
        """The loss of each text, `(texts,)`. states: the student's, `(texts, tokens, width)`, the embeddings' first.

        Raises:
            AdaptkitError: a text that the teacher has not read.
        """
        told = told_of(batch, self.kept).float().chunk(len(self.layers), -1)
        seen = batch["attention_mask"].float() if "attention_mask" in batch else torch.ones_like(told[0][..., 0])
        found = []
        for one, given, wanted in zip(self._maps, states[1:], told, strict=True):
            error, size = ((x.square().sum(-1) * seen).sum(-1) for x in (one(given).float() - wanted, wanted))
            found.append(error / size)
        return torch.stack(found).mean(0)
