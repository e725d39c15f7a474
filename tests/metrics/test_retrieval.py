"""Retrieval by hand."""

import numpy as np
import pytest

from adaptkit.metrics.retrieval import retrieval

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")


def test_retrieval_by_hand():
    vectors = np.eye(4)
    found = np.stack([vectors[0], vectors[1], vectors[1], vectors[3]])
    scores = retrieval(vectors, found, ["a", "b", "c", "d"], cutoffs=(1, 4))
    assert scores == pytest.approx(
        {"recall_at_1": 0.5, "recall_at_4": 1.0, "mean_reciprocal_rank": (1 + 0.5 + 0.25 + 1) / 4}
    )
    twice = retrieval(
        vectors[[0, 0, 1]], vectors[:3], ["a", "a", "b"]
    )  # one document with two queries counts once
    assert twice["recall_at_1"] == pytest.approx(2 / 3)
