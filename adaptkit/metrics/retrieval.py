"""Retrieval metrics: how well a vector finds its match among many.

>>> import numpy as np
>>> from adaptkit.metrics.retrieval import retrieval
>>> retrieval(np.eye(3), np.eye(3)[[0, 2, 1]], ["a", "b", "c"])["recall_at_1"]
0.3333333333333333
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def retrieval(
    queries: np.ndarray, found: np.ndarray, names: Sequence[str], cutoffs: Sequence[int] = (1, 5)
) -> dict[str, float]:
    """Recall at k and mean reciprocal rank; row i of `found` is the match of query i.

    Rows with the same name in `names` are one document. Ties count against the query.
    """
    first = {name: index for index, name in reversed(list(enumerate(names)))}
    documents = sorted(first.values())
    wanted = np.asarray([documents.index(first[name]) for name in names])
    scores = queries @ found[documents].T
    own = scores[np.arange(len(queries)), wanted]
    rank = (scores >= own[:, None]).sum(1)
    recalls = {f"recall_at_{k}": float((rank <= k).mean()) for k in cutoffs}
    return recalls | {"mean_reciprocal_rank": float((1 / rank).mean())}
