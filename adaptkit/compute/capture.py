"""Capture a network as a graph of tensor operations over one packed sequence (torch.export)."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx, nn

from adaptkit.compute.attention import NAME, NotCapturedError
from adaptkit.utils.logs import quiet

TOKENS = 24  # of the sequence that is captured
READ = ("input_ids", "position_ids", "token_type_ids")


class _Hidden(nn.Module):
    """A network that gives its last hidden states, and what its pooler makes of them."""

    def __init__(self, network: nn.Module, names: list[str]):
        super().__init__()
        self.network, self.names = network, names

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        outputs = self.network(**dict(zip(self.names, inputs, strict=True)))
        pooled = getattr(outputs, "pooler_output", None)
        return (outputs.last_hidden_state, *([] if pooled is None else [pooled]))


def inputs_of(network: Any) -> list[str]:
    """The inputs of a packed sequence that a network reads.

    Raises:
        NotCapturedError: it is not told its tokens' positions, or reads something else than text.
    """
    known = inspect.signature(network.forward).parameters
    if network.config.is_encoder_decoder or not {"input_ids", "position_ids"} <= set(known):
        raise NotCapturedError(f"{type(network).__name__} takes no positions of tokens")
    return [name for name in READ if name in known]


@torch.no_grad()
def capture(network: Any) -> fx.GraphModule:
    """The graph of a network's last hidden states, and of its pooler's output if it has one.

    It reads `inputs_of`, each `(1, tokens)`.

    Raises:
        NotCapturedError: it cannot be captured.
    """
    names = inputs_of(network)
    example = tuple(torch.arange(TOKENS)[None] * (name != "token_type_ids") for name in names)
    any_length = {1: torch.export.Dim.AUTO}
    try:
        with quiet("torch.export", "torch.fx", "transformers"), _attention(network, NAME):
            whole = torch.export.export(
                _Hidden(network, names).eval(),
                example,
                dynamic_shapes={"inputs": (any_length,) * len(names)},
                strict=False,
            )
            return whole.module(check_guards=False)
    except NotCapturedError:
        raise
    except Exception as problem:  # whatever tracing a model's own code raises
        first = str(problem).strip().partition("\n")[0][:120]
        raise NotCapturedError(f"{type(network).__name__} is not captured: {first}") from None


@contextmanager
def _attention(network: Any, name: str) -> Iterator[None]:
    """A network with another attention function while the block runs.

    Raises:
        NotCapturedError: it does not use transformers' attention interface.
    """
    before = network.config._attn_implementation
    network.set_attn_implementation(name)
    try:
        if network.config._attn_implementation != name:
            raise NotCapturedError(f"{type(network).__name__} attends in a way of its own")
        yield
    finally:
        network.set_attn_implementation(before)
