"""Attention maps: each head of a student is drawn to look where its teacher's looks (Wang et al. 2020, arXiv:2002.10957; Jiao et
al. 2020, arXiv:1909.10351). For a text, the mean over pairs of layers, heads and tokens of

    KL(teacher's shares of attention || student's)

The shares come from what the layers' query and key maps give, so any attention kernel may run; the teacher's queries and keys are
kept in bf16, not its maps, whose size grows with the square of the text. What a model adds between these maps and its attention
(rotary positions, norms of heads, relative positions) is left out on both sides.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from adaptkit.errors import AdaptkitError
from adaptkit.sites import Site, find_sites
from adaptkit.transfer.pull import Pull, seen_of, texts_of, told_of


class Watched:
    """A model whose query and key maps are noted, layer by layer, while it is in place (`with watched:`)."""

    def __init__(self, model: Any, layers: Iterable[int]):
        maps = _maps(model)
        self.sites = [site for layer in layers for site in maps[layer]]
        self.heads = model.config.num_attention_heads
        self.widths = [site.width_out for site in self.sites]
        self.causal = _is_causal(model, self.sites[0])
        self.model = model

    def __enter__(self) -> Watched:
        self._given: list[Tensor | None] = [None] * len(self.sites)
        self._hooks = [
            self.model.get_submodule(site.module).register_forward_hook(partial(self._note, index, site.part))
            for index, site in enumerate(self.sites)
        ]
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()
        self._given = []

    def _note(self, index: int, part: tuple[int, int] | None, module: Any, args: Any, given: Tensor) -> None:
        self._given[index] = given if part is None else given[..., part[0] : part[1]]

    @property
    def given(self) -> list[Tensor]:
        """Queries and keys of the last forward pass by turns, each `(texts, tokens, width)`."""
        return [one for one in self._given if one is not None]

    def shares(self, queries: Tensor, keys: Tensor, seen: Tensor) -> Tensor:
        """Logarithms of the shares of attention, `(texts, heads, tokens, tokens)`."""
        rows, tokens, width = queries.shape
        one = width // self.heads
        q, k = (states.float().view(rows, tokens, -1, one).transpose(1, 2) for states in (queries, keys))
        scores = q @ k.repeat_interleave(self.heads // k.shape[1], 1).mT * one**-0.5
        visible = seen[:, None, None]
        if self.causal:
            visible = visible & torch.ones(tokens, tokens, dtype=torch.bool, device=seen.device).tril()
        return scores.masked_fill(~visible, torch.finfo(scores.dtype).min).log_softmax(-1)


class AttentionMaps(Pull):
    """Where a teacher's heads look in each text."""

    def teaching(self, model: Any) -> Watched:
        self.teacher = Watched(model, self.layers)
        return self.teacher

    def keep(self, outputs: Any, batch: dict[str, Tensor]) -> None:
        texts_of(batch).keep(self.kept, torch.cat(self.teacher.given, -1).to(torch.bfloat16))

    def learning(self, model: Any) -> Watched:
        """Raises: AdaptkitError: a student with another number of heads."""
        self.student = Watched(model, range(len(self.layers)))
        if self.student.heads != self.teacher.heads:
            raise AdaptkitError(
                f"attention maps are compared head by head: the teacher has {self.teacher.heads} heads, the student "
                f"{self.student.heads}. Leave --attention_map_weight at 0."
            )
        return self.student

    def loss(self, outputs: Any, batch: dict[str, Tensor]) -> Tensor:
        told, own, seen = told_of(batch, self.kept).split(self.teacher.widths, -1), self.student.given, seen_of(batch)
        found = []
        for i in range(0, len(told), 2):
            wanted = self.teacher.shares(told[i], told[i + 1], seen)
            given = self.student.shares(own[i], own[i + 1], seen)
            each = F.kl_div(given, wanted, reduction="none", log_target=True).sum(-1).mean(1)  # (texts, tokens)
            found.append((each * seen).sum(-1) / seen.sum(-1))
        return torch.stack(found).mean(0)


def _maps(model: Any) -> list[list[Site]]:
    """The query and the key map of each layer.

    Raises:
        AdaptkitError: layers that are shared, or more than one stack of them.
    """
    found = [[site for site in find_sites(model) if site.name == name] for name in ("attn.q", "attn.k")]
    if len(found[0]) != model.config.num_hidden_layers:
        raise AdaptkitError(f"{type(model).__name__} has no layers of its own in one stack, so its attention maps are not known.")
    return [list(pair) for pair in zip(*found, strict=True)]


def _is_causal(model: Any, query: Site) -> bool:
    """Whether a token looks at those in front of it alone."""
    return bool(getattr(model.get_submodule(query.module.rpartition(".")[0]), "is_causal", False))
