"""Retrieval metrics: how well a vector finds its match among many.

>>> import numpy as np
>>> from adaptkit.metrics.retrieval import retrieval
>>> retrieval(np.eye(3), np.eye(3)[[0, 2, 1]], ["a", "b", "c"])["recall_at_1"]
0.3333333333333333
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from adaptkit.metrics.row_scores import RowScores

AT_ONCE = 1024  # queries whose scores are in memory


def retrieval(
    queries: np.ndarray, found: np.ndarray, names: Sequence[str], cutoffs: Sequence[int] = (1, 5)
) -> dict[str, float]:
    """Recall at k and mean reciprocal rank; row i of `found` is the match of query i.

    Rows with the same name in `names` are one document. Ties count against the query.
    """
    return retrieval_rows(queries, found, names, cutoffs)()


def retrieval_rows(
    queries: np.ndarray, found: np.ndarray, names: Sequence[str], cutoffs: Sequence[int] = (1, 5)
) -> RowScores:
    """`retrieval` of any queries, each of which searches the documents of all rows."""

    def combine(rank: np.ndarray) -> dict[str, float]:
        recalls = {f"recall_at_{k}": float((rank <= k).mean()) for k in cutoffs}
        return recalls | {"mean_reciprocal_rank": float((1 / rank).mean())}

    return RowScores((_ranks(queries, found, names),), combine)


def _ranks(queries: np.ndarray, found: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """The rank of each query's own document among all, from 1, `(queries,)`."""
    first = {name: index for index, name in reversed(list(enumerate(names)))}
    places = sorted(first.values())
    documents = found[places]
    place = {index: number for number, index in enumerate(places)}
    wanted = np.asarray([place[first[name]] for name in names])
    ranks = np.zeros(len(queries), dtype=int)
    for start in range(0, len(queries), AT_ONCE):
        block = slice(start, start + AT_ONCE)
        scores = queries[block] @ documents.T
        own = np.take_along_axis(scores, wanted[block, None], 1)
        ranks[block] = (scores >= own).sum(1)
    return ranks
