"""Embeddings of another width: `(tokens, wide)` becomes `(tokens, narrow)` by truncated SVD.

The first right singular vectors of the token embeddings keep as much of their squares as this many
can (Eckart and Young 1936). All tables of a network are projected on the same ones, so that they
can still be added. Within the narrow space they are rotated to the target's tables (orthogonal
Procrustes, Schönemann 1966), so that a mixture of both is not a sum of unrelated axes. The
projection loses information: it is approximate.

Weights inside layers are left alone: a norm does not rotate with its input, so rotated layers
compute something else. See docs/architecture.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from adaptkit.errors import AdaptkitError


def basis_between(sources: Sequence[Any], target: Any) -> Tensor | None:
    """The projection of the sources' tables to the target's width, `(wide, narrow)`.

    None if they are not wider.

    Raises:
        AdaptkitError: the sources have several widths, one of them wider than the target.
    """
    tables, own = [_embeddings(model) for model in sources], _embeddings(target)
    widths = {0 if table is None else table.shape[1] for table in tables}
    if own is None or max(widths) <= own.shape[1]:
        return None
    if len(widths) > 1:
        raise AdaptkitError(
            "sources of one width are wanted where they are wider than the target; theirs are "
            f"{sorted(widths)}."
        )
    table = tables[0].double()
    basis = torch.linalg.eigh(table.mT @ table).eigenvectors.flip(-1)[:, : own.shape[1]]
    if len(table) == len(own):
        left, _, right = torch.linalg.svd((table @ basis).mT @ own.double())
        basis = basis @ left @ right
    return basis.float()


def tables_behind(basis: Tensor, model: nn.Module) -> dict[str, Tensor]:
    """The embedding tables of a model by parameter name, each projected on a basis."""
    kept = dict(model.named_parameters())
    tables = {
        f"{name}.weight": module
        for name, module in model.named_modules()
        if isinstance(module, nn.Embedding)
    }
    return {
        name: module.weight.detach().float() @ basis
        for name, module in tables.items()
        if name in kept and module.embedding_dim == len(basis)
    }


def share_kept(table: Tensor, narrow: Tensor) -> float:
    """The share of a table's squares that the narrow table keeps, 0 to 1."""
    whole = float(table.detach().float().square().sum())
    return float(narrow.square().sum()) / whole if whole else 1.0


def _embeddings(model: Any) -> Tensor | None:
    """The token embeddings, `(tokens, width)`; vision models have none."""
    table = model.get_input_embeddings()
    return table.weight.detach() if isinstance(table, nn.Embedding) else None
