"""Attention-map distillation: a student's heads learn the teacher's attention.

Wang et al. 2020, arXiv:2002.10957; Jiao et al. 2020, arXiv:1909.10351. For a text, the loss is the
mean over pairs of layers, heads and tokens of

    KL(teacher's attention weights || student's)

The weights are softmax(q k / sqrt(head width)) of the outputs of the layers' query and key maps, so
any attention kernel may run. The teacher's queries and keys are stored in bf16, not its maps, whose
size is quadratic in the text length. Whatever a model adds between these maps and its attention is
left out on both sides: rotary and relative positions, norms of heads, sliding windows, soft caps,
scales of its own. BERT, RoBERTa, ELECTRA, DistilBERT, GPT-2 and OPT add nothing, so the weights are
the model's own.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from adaptkit.distillation.feature_loss import FeatureLoss, batch_keys, teacher_states, token_mask
from adaptkit.errors import AdaptkitError
from adaptkit.models.find_sites import find_sites
from adaptkit.models.sites import Site


class Watched:
    """A model whose query and key maps are recorded per layer in a block (`with watched:`)."""

    def __init__(self, model: Any, layers: Iterable[int]):
        maps = _maps(model)
        self.sites = [site for layer in layers for site in maps[layer]]
        self.heads = model.config.num_attention_heads
        self.widths = [site.width_out for site in self.sites]
        self.causal = _is_causal(model, self.sites[0])
        self.model = model

    def __enter__(self) -> Watched:
        self._forget()
        self._hooks = [self.model.register_forward_pre_hook(self._forget)]
        for index, site in enumerate(self.sites):
            module = self.model.get_submodule(site.module)
            self._hooks.append(module.register_forward_hook(partial(self._note, index, site.part)))
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()
        self._forget()

    def _forget(self, *_: object) -> None:
        self._noted: list[Tensor | None] = [None] * len(self.sites)

    def _note(
        self, index: int, part: tuple[int, int] | None, module: Any, args: Any, output: Tensor
    ) -> None:
        self._noted[index] = output if part is None else output[..., part[0] : part[1]]

    def queries_and_keys(self) -> list[Tensor]:
        """Queries and keys of the last forward pass, alternating, each `(texts, tokens, width)`.

        Raises:
            AdaptkitError: a layer did not run, or has no gradient while gradients are computed.
        """
        noted = [one for one in self._noted if one is not None]
        if len(noted) < len(self.sites):
            raise AdaptkitError(
                "attention maps want every layer to run at every step: --frozen_trunk off."
            )
        if torch.is_grad_enabled() and not all(one.requires_grad for one in noted):
            raise AdaptkitError(
                "no gradient reaches the attention maps: all of the student's weights have to "
                "train, and "
                "--gradient_checkpointing_kwargs may not ask for use_reentrant."
            )
        return noted

    def log_shares(self, queries: Tensor, keys: Tensor, seen: Tensor) -> Tensor:
        """Log attention weights, `(texts, heads, tokens, tokens)`; in fp32."""
        rows, tokens, width = queries.shape
        head_width = width // self.heads
        with torch.autocast(queries.device.type, enabled=False):
            q, k = (
                states.float().view(rows, tokens, -1, head_width).transpose(1, 2)
                for states in (queries, keys)
            )
            scores = q @ k.repeat_interleave(self.heads // k.shape[1], 1).mT * head_width**-0.5
        visible = seen[:, None, None]
        if self.causal:
            visible = (
                visible & torch.ones(tokens, tokens, dtype=torch.bool, device=seen.device).tril()
            )
        return scores.masked_fill(~visible, torch.finfo(scores.dtype).min).log_softmax(-1)


class AttentionMapLoss(FeatureLoss):
    """The loss between the attention maps of student and teacher."""

    teacher: Watched
    student: Watched

    def teaching(self, model: Any) -> Watched:
        self.teacher = Watched(model, self.layers)
        return self.teacher

    def keep(self, outputs: Any, batch: dict[str, Tensor]) -> None:
        batch_keys(batch).keep(
            self.cache, torch.cat(self.teacher.queries_and_keys(), -1).to(torch.bfloat16)
        )

    def learning(self, model: Any) -> Watched:
        """Context for the student's training.

        Raises:
            AdaptkitError: it has another number of heads than the teacher, or only one of the two
                is causal.
        """
        self.student = Watched(model, range(len(self.layers)))
        for what in ("heads", "causal"):
            theirs, own = (getattr(one, what) for one in (self.teacher, self.student))
            if theirs != own:
                raise AdaptkitError(
                    f"attention maps are compared head by head and token by token: {what} is "
                    f"{theirs} in the teacher and {own} in "
                    "the student. Leave --attention_map_weight at 0."
                )
        return self.student

    def loss(self, outputs: Any, batch: dict[str, Tensor]) -> Tensor:
        seen = token_mask(batch)
        teachers, students = (
            teacher_states(batch_keys(batch), self.cache).split(self.teacher.widths, -1),
            self.student.queries_and_keys(),
        )
        found = []
        for i in range(0, len(students), 2):
            teacher = self.teacher.log_shares(teachers[i], teachers[i + 1], seen)
            given = self.student.log_shares(students[i], students[i + 1], seen)
            each = (
                F.kl_div(given, teacher, reduction="none", log_target=True).sum(-1).mean(1)
            )  # (texts, tokens)
            found.append((each * seen).sum(-1) / seen.sum(-1))
        return torch.stack(found).mean(0)


def _maps(model: Any) -> list[list[Site]]:
    """The query and the key map of each layer.

    Raises:
        AdaptkitError: layers are shared, or there are several stacks.
    """
    found = [
        [site for site in find_sites(model) if site.name == name] for name in ("attn.q", "attn.k")
    ]
    if len(found[0]) != model.config.num_hidden_layers:
        raise AdaptkitError(
            f"{type(model).__name__} has no layers of its own in one stack, so its attention "
            "maps are not known."
        )
    return [list(pair) for pair in zip(*found, strict=True)]


def _is_causal(model: Any, query: Site) -> bool:
    """True if the attention that holds the query map is causal."""
    attention = model.get_submodule(query.module.rpartition(".")[0])
    return any(getattr(attention, name, False) for name in ("is_causal", "is_decoder"))
