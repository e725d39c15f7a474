"""Adversarial training moves embeddings against the loss."""

import torch
from torch import nn

from adaptkit.training.adversarial import on_embeddings


def test_the_attack_moves_each_row_by_epsilon_against_the_loss():
    torch.manual_seed(1)
    embeddings, head = nn.Embedding(10, 4).requires_grad_(False), nn.Linear(4, 1)
    ids = torch.tensor([[1, 2, 3], [4, 5, 6]])
    with on_embeddings(embeddings, 0.3) as attack:
        clean = embeddings(ids)
        before = head(clean.tanh()).sum()
        before.backward()
        gradient = attack.outputs[0].grad
        attack.apply()
        moved = embeddings(ids)
    step = moved - embeddings(ids)
    torch.testing.assert_close(step.flatten(1).norm(dim=1), torch.full((2,), 0.3))
    torch.testing.assert_close(step, 0.3 * gradient / gradient.flatten(1).norm(dim=1).view(2, 1, 1))
    assert head(moved.tanh()).sum() > before
    torch.testing.assert_close(embeddings(ids), embeddings.weight[ids])  # the hook is gone
