"""Hidden-state distillation: a student's layers learn those of its teacher.

Romero et al. 2015, arXiv:1412.6550; Jiao et al. 2020, arXiv:1909.10351. For a text, the loss is the
mean over pairs of layers of

    sum over its tokens of |map(student) - teacher|^2  /  sum over its tokens of |teacher|^2

Each pair has its own linear map, which is trained with the student and dropped at the end; with
equal widths it starts as the identity. The teacher's states come from its single run and are stored
in bf16.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from adaptkit.distillation.feature_loss import FeatureLoss, batch_keys, teacher_states, token_mask

MAPS = "adaptkit_maps"  # attribute of the student that holds the maps during training


class HiddenStateLoss(FeatureLoss):
    """The loss between the hidden states of student and teacher."""

    extra_outputs: ClassVar[dict[str, Any]] = {"output_hidden_states": True}

    def keep(self, outputs: Any, batch: dict[str, Tensor]) -> None:
        states = torch.cat([outputs.hidden_states[layer + 1] for layer in self.layers], -1).to(
            torch.bfloat16
        )
        batch_keys(batch).keep(self.cache, states)

    @contextmanager
    def learning(self, model: Any) -> Iterator[None]:
        """The student with trainable maps to the teacher's widths, which are removed at the end."""
        teacher, own = self.cache.width // len(self.layers), model.config.hidden_size
        maps = nn.ModuleList(nn.Linear(own, teacher) for _ in self.layers)
        if own == teacher:
            one: Any
            for one in maps:
                nn.init.eye_(one.weight)
                nn.init.zeros_(one.bias)
        self._maps = maps.to(next(model.parameters()).device)
        model.add_module(MAPS, self._maps)
        try:
            yield
        finally:
            delattr(model, MAPS)

    def loss(self, outputs: Any, batch: dict[str, Tensor]) -> Tensor:
        states = teacher_states(batch_keys(batch), self.cache).float().chunk(len(self.layers), -1)
        seen = token_mask(batch).float()
        found = []
        for one, given, teacher in zip(self._maps, outputs.hidden_states[1:], states, strict=True):
            error, size = (
                (x.square().sum(-1) * seen).sum(-1) for x in (one(given).float() - teacher, teacher)
            )
            found.append(error / size)
        return torch.stack(found).mean(0)
