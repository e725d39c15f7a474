"""Adversarial training of the embeddings with FGM, the fast gradient method.

Miyato, Dai and Goodfellow 2017. Each step runs twice: once as usual, once with the outputs of the
embedding layer moved by `epsilon` along the gradient of the loss. The layer's outputs are moved,
not its weights, so it works with a frozen base too.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Attack:
    """The state of one step: the outputs of the embedding layer, then what is added to them."""

    def __init__(self, epsilon: float):
        self.epsilon = epsilon
        self.outputs: list[Tensor] = []
        self.moves: list[Tensor] = []

    def hook(self, module: nn.Module, inputs: tuple, output: Tensor) -> Tensor:
        if self.moves:
            return output + self.moves.pop(0).to(output)
        output = output if output.requires_grad else output.detach().requires_grad_()
        output.retain_grad()
        self.outputs.append(output)
        return output

    def apply(self) -> None:
        """Compute the moves of the second pass from the gradients of the first.

        Each row moves by epsilon.
        """
        for output in self.outputs:
            gradient = (
                torch.zeros_like(output) if output.grad is None else output.grad.detach().float()
            )
            length = gradient.flatten(1).norm(dim=1).clamp(min=1e-12)
            self.moves.append(
                self.epsilon * gradient / length.view(-1, *[1] * (gradient.dim() - 1))
            )
        self.outputs = []


@contextmanager
def on_embeddings(embeddings: nn.Module, epsilon: float) -> Iterator[Attack]:
    """Hook an embedding layer for one step."""
    attack = Attack(epsilon)
    handle = embeddings.register_forward_hook(attack.hook)
    try:
        yield attack
    finally:
        handle.remove()
