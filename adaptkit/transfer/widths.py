"""Embeddings of another width: a table `(tokens, wide)` becomes `(tokens, narrow)` by truncated SVD.

The first right singular vectors of the token embeddings keep as much of their squares as so few can (Eckart and Young 1936);
all tables of a network go through the same ones, so that they can still be added. What is lost is lost: this is approximate.

Weights inside layers are left alone: a norm does not turn with its input, so turned layers compute something else. See
docs/transfer.md for what was measured.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


def basis_between(source: Any, target: Any) -> Tensor | None:
    """What narrows the source's tables to the target's width, `(wide, narrow)`; None where the source is not wider.

    The first right singular vectors of its token embeddings; the largest part of each is positive.
    """
    tables = [model.get_input_embeddings() for model in (source, target)]
    if not all(isinstance(table, nn.Embedding) for table in tables) or tables[0].embedding_dim <= tables[1].embedding_dim:
        return None  # pictures have no tables
    table = tables[0].weight.detach().double()
    vectors = torch.linalg.eigh(table.mT @ table).eigenvectors.flip(-1)[:, : tables[1].embedding_dim]
    return (vectors * vectors.gather(0, vectors.abs().argmax(0, keepdim=True)).sign()).float()


def parameters(model: nn.Module, basis: Tensor | None) -> dict[str, Tensor]:
    """The parameters of a model by name; its tables of embeddings behind a basis, where there is one."""
    found: dict[str, Tensor] = dict(model.named_parameters())
    if basis is not None:
        for name, module in model.named_modules():
            if isinstance(module, nn.Embedding) and module.embedding_dim == len(basis) and f"{name}.weight" in found:
                found[f"{name}.weight"] = module.weight.detach().float() @ basis
    return found


def share_kept(table: Tensor, basis: Tensor | None) -> float:
    """How much of the squares of a table is left behind a basis, 0 to 1."""
    assert basis is not None
    table = table.detach().float()
    return float((table @ basis).square().sum() / table.square().sum())
