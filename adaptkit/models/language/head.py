"""The head of a language model by itself, over chosen tokens, a chunk at a time.

With a vocabulary of 150,000 the logits of one token take 600 kB, and a loss needs them three times
over. But most tokens of a conversation carry no loss. So the network runs over all tokens, and the
head over those that do, a chunk of them at a time: where there are several chunks, the logits of
each are dropped after the forward pass, and computed once more in the backward pass.

The head is whatever a task model does behind its network. It is run as it is, with the network's
states handed to it: biases, scales, caps and adapters are those of the model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint
from transformers.modeling_outputs import BaseModelOutput

from adaptkit.errors import AdaptkitError
from adaptkit.models.forward_wrapper import ForwardWrapper

IGNORED = -100
CHUNK = 2**25  # logits at a time: 128 MB in fp32
Found = TypeVar("Found")


@dataclass(frozen=True)
class TokenLogits:
    """The logits of some tokens of a batch, before they are computed.

    states: `(tokens, width)`. labels: `(tokens,)`, -100 for those that only fill up. places:
        `(tokens,)`, where they are in the batch, counted row by row. head: states to logits,
        `(tokens, vocabulary)`. vocabulary: how many logits it makes of one. outputs: those of the
        model besides its logits.
    """

    states: Tensor
    labels: Tensor
    places: Tensor
    head: Callable[[Tensor], Tensor]
    vocabulary: int
    outputs: Any = None

    def each(self, function: Callable[[Tensor, Tensor, Tensor], Found]) -> list[Found]:
        """What a function makes of the logits, labels and places of each chunk of tokens."""
        size = max(1, CHUNK // self.vocabulary)
        columns = (self.states, self.labels, self.places)
        chunks = list(zip(*(column.split(size) for column in columns), strict=True))

        def made(states: Tensor, labels: Tensor, places: Tensor) -> Found:
            return function(self.head(states), labels, places)

        if len(chunks) == 1 or not torch.is_grad_enabled():
            return [made(*chunk) for chunk in chunks]
        return [checkpoint(made, *chunk, use_reentrant=False) for chunk in chunks]

    @cached_property
    def losses(self) -> Tensor:
        """The cross-entropy of each token, `(tokens,)`; 0 of those that fill up."""
        return self.cross_entropies()

    def cross_entropies(self, smoothing: float = 0.0) -> Tensor:
        """As `losses`, with label smoothing."""

        def of_chunk(logits: Tensor, labels: Tensor, places: Tensor) -> Tensor:
            return functional.cross_entropy(
                logits.float(), labels, reduction="none", label_smoothing=smoothing
            )

        return torch.cat(self.each(of_chunk))


class LanguageHead(ForwardWrapper):
    """What a language model does behind its network, as a map from states to logits.

    Args:
        model: a transformers model with a language-modelling head, adapted or not.
        network: the module of it whose states the head reads.
    """

    def __init__(self, model: Any, network: nn.Module):
        super().__init__(network)
        self.model, self.network = model, network
        self._states: Tensor | None = None  # of the last pass
        self._given: Any = None  # returned instead of a pass
        self._kind: Any = BaseModelOutput
        self._autocast: Any = None  # the model's: Trainer enables it in the forward pass only

    def states(self, run: Callable[[], Any]) -> tuple[Tensor, Any]:
        """The network's states `(rows, tokens, width)` while the model runs, and its outputs.

        Its head sees one token of each row.
        """
        self.place(self.network)
        try:
            outputs = run()
        finally:
            self.restore(self.network)
        states, self._states = self._states, None
        assert states is not None
        return states, outputs

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._given is not None:
            return self._given
        outputs = self.forward(*args, **kwargs)
        states = outputs.last_hidden_state
        device = states.device.type
        self._states, self._kind = states, type(outputs)
        self._autocast = {
            "device_type": device,
            "dtype": torch.get_autocast_dtype(device),
            "enabled": torch.is_autocast_enabled(device),
        }
        outputs.last_hidden_state = states[:, :1]
        return outputs

    def logits(self, states: Tensor) -> Tensor:
        """The logits `(tokens, vocabulary)` of states `(tokens, width)` of the last pass."""
        one_row = states[None]
        self._given = self._kind(last_hidden_state=one_row)
        self.place(self.network)
        try:
            with torch.autocast(**self._autocast):
                return self.model(**self._inputs(one_row)).logits[0]
        finally:
            self._given = None
            self.restore(self.network)

    def _inputs(self, states: Tensor) -> dict[str, Any]:
        """Inputs that the model accepts; nothing reads them."""
        ids = torch.zeros(states.shape[:2], dtype=torch.long, device=states.device)
        if not self.model.config.is_encoder_decoder:
            return {"input_ids": ids}
        encoded = BaseModelOutput(last_hidden_state=states[:, :1])
        return {"encoder_outputs": encoded, "decoder_input_ids": ids}


def labelled_places(labels: Tensor, multiple: int = 1) -> Tensor:
    """Where the labels `(rows, tokens)` other than -100 are, counted row by row.

    There is at least one, and their number is a multiple of `multiple`: -1 fills up.
    """
    places = (labels.flatten() != IGNORED).nonzero()[:, 0]
    wanted = max(1, -(-len(places) // multiple)) * multiple
    return functional.pad(places, (0, wanted - len(places)), value=-1)


def token_logits(
    model: Any,
    network: nn.Module | None,
    run: Callable[[], Any],
    labels: Tensor,
    places: Tensor,
    virtual_tokens: int = 0,
) -> TokenLogits:
    """Run a model once, and hand out its logits of chosen tokens only.

    Args:
        model: the transformers model itself.
        network: the module behind which its head runs token by token; None if the head cannot run
            by itself.
        run: runs the model, through what it is wrapped in.
        labels: `(rows, tokens)`, of what each token predicts.
        places: the chosen tokens, from `labelled_places`.
        virtual_tokens: those that may be in front of each row, in the states but not in the labels.

    Raises:
        AdaptkitError: the states are of another number of tokens.
    """
    chosen = places.clamp(min=0)
    own = labels.flatten()[chosen].masked_fill(places < 0, IGNORED)
    if network is None:
        outputs = run()
        logits = without_prompt(outputs.logits, labels.shape[1], virtual_tokens).flatten(0, 1)[
            chosen
        ]
        return TokenLogits(logits, own, places, lambda logits: logits, logits.shape[-1], outputs)
    head = LanguageHead(model, network)
    states, outputs = head.states(run)
    vocabulary = outputs.logits.shape[-1]
    states = without_prompt(states, labels.shape[1], virtual_tokens).flatten(0, 1)[chosen]
    return TokenLogits(states, own, places, head.logits, vocabulary, outputs)


def without_prompt(states: Tensor, tokens: int, virtual_tokens: int) -> Tensor:
    """States of tokens `(rows, tokens, ...)` without those of virtual tokens in front.

    Raises:
        AdaptkitError: they are of another number of tokens.
    """
    more = states.shape[1] - tokens
    if more not in (0, virtual_tokens):
        raise AdaptkitError(
            f"the model gives {states.shape[1]} tokens where {tokens} were expected, or "
            f"{virtual_tokens} more, so it is not known which of them a label belongs to. Choose "
            "another --method."
        )
    return states[:, more:]
