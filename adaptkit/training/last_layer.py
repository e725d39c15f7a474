"""Cut the last layer to the one token that the head reads.

Attention mixes the tokens; after it a layer works on each token separately. So in the last layer
the maps after the attention run only for the token that the head reads: one row in place of all,
forward and backward. Sums with the residual stream then broadcast that row to the other positions,
where nothing reads it. The token is not inferred from names but found by a gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from adaptkit.data.samplers import lengths_of
from adaptkit.errors import AdaptkitError
from adaptkit.models.backbone import backbone_of, bare_model
from adaptkit.models.find_sites import last_layer_sites
from adaptkit.models.probe import tokens_read

BEHIND_ATTENTION = ("attn.out", "ffn.in", "ffn.gate", "ffn.gate_in")

ROWS_MATTER = ("output_hidden_states", "output_attentions", "use_cache", "past_key_values")


def first(ids: Tensor, padding: int | None) -> Tensor:
    """The first token, as encoders read it: token ids `(rows, tokens)` -> positions `(rows)`."""
    return ids.new_zeros(len(ids))


def last(ids: Tensor, padding: int | None) -> Tensor:
    """The last token that is not padding, as in the heads of transformers' decoders."""
    places = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
    return (places if padding is None else places * (ids != padding)).argmax(-1)


class LastLayer:
    """The last layer of one model, cut to the token that is read (`with last_layer:`).

    Args:
        model: a transformers model, adapted or not.

    Raises:
        AdaptkitError: the model has no separate last layer.
    """

    def __init__(self, model: Any):
        layer, sites = last_layer_sites(model)
        if layer is None:
            raise AdaptkitError(f"{type(model).__name__} has no layer of its own that comes last.")
        self.layer = layer
        self.backbone, _ = backbone_of(model)
        self.padding = model.config.get_text_config().pad_token_id
        self.where: Callable[[Tensor, int | None], Tensor] | None = None
        modules = dict(model.named_modules())
        self._maps = [
            modules[path]
            for path in {site.module for site in sites if site.name in BEHIND_ATTENTION}
        ]
        self._norms = [modules[site.module] for site in sites if site.kind == "norm"]
        self._places: Tensor | None = (
            None  # of the current forward pass; None: all tokens are computed
        )
        self._tokens = 0
        self._hooks: list[Any] = []

    def find(self, outcome: Callable[[], Tensor], ids: Tensor) -> bool:
        """Find the one token of each row that an outcome depends on; returns whether there is one.

        Args:
            outcome: runs the model on `ids` and returns what is read of it, for example a loss.
            ids: `(rows, tokens)`, rows of different lengths, padded.
        """
        read = tokens_read(self.layer, outcome)
        ids = ids if read is None else ids.to(read.device)
        for where in (first, last):
            expected = torch.zeros_like(ids, dtype=torch.bool).scatter(
                1, where(ids, self.padding)[:, None], True
            )
            if read is not None and read.shape == ids.shape and torch.equal(read, expected):
                self.where = where
                return True
        return False

    def __enter__(self) -> LastLayer:
        self._hooks = [self.backbone.register_forward_pre_hook(self._enter, with_kwargs=True)]
        one_place = (
            self._norms if self.where is first else []
        )  # the layer may return one token if the head reads the first
        self._hooks += [
            module.register_forward_pre_hook(self._cut, prepend=True)
            for module in (*self._maps, *one_place)
        ]
        return self

    def __exit__(self, *_: Any) -> None:
        for hook in self._hooks:
            hook.remove()

    def _enter(self, module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
        ids = args[0] if args else kwargs.get("input_ids")
        self._places = None
        if (
            self.where is not None
            and ids is not None
            and not any(kwargs.get(name) for name in ROWS_MATTER)
        ):
            self._places, self._tokens = self.where(ids, self.padding), ids.shape[1]

    def _cut(self, module: nn.Module, args: tuple) -> tuple | None:
        states = args[0]
        if self._places is None or states.dim() != 3 or states.shape[1] != self._tokens:
            return None  # another map has already cut them
        if self.where is first:
            return (
                states[:, :1].contiguous(),
                *args[1:],
            )  # a view would make torch multiply row by row
        return (
            states.gather(1, self._places[:, None, None].expand(-1, 1, states.shape[-1])),
            *args[1:],
        )


def cut_last_layer(trainer: Any) -> AbstractContextManager[Any]:
    """Cut the last layer of the trainer's model in the block, if the loss reads one token."""
    model, rows = bare_model(trainer.model), trainer.train_dataset
    if (
        not trainer.options.cut_last_layer
        or trainer.task.reads_every_token
        or not trainer.in_one_piece
        or model.config.is_encoder_decoder
    ):
        return nullcontext()
    by_length = np.argsort(lengths_of(rows), kind="stable")
    batch = trainer.data_collator(
        [rows[int(by_length[i])] for i in {0, len(rows) // 2, len(rows) - 1}]
    )
    if "input_ids" not in batch:
        return nullcontext()
    training = model.training
    trainer.model.eval()
    try:
        cut = LastLayer(model)
        ids = batch["input_ids"].flatten(0, -2)  # of multiple choice: a row for each option
        return cut if cut.find(lambda: trainer.outcome(batch), ids) else nullcontext()
    except AdaptkitError:
        return nullcontext()
    finally:
        trainer.model.train(training)
