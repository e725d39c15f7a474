"""The metrics of drawn rows are those of the rows themselves, computed from scratch."""

import numpy as np
import pytest

from adaptkit.metrics.classification import (
    classification,
    multi_label,
    multi_label_rows,
)
from adaptkit.metrics.generation import bleu_chrf, bleu_chrf_rows, rouge, rouge_rows
from adaptkit.metrics.regression import regression, regression_rows
from adaptkit.metrics.retrieval import retrieval_rows
from adaptkit.metrics.row_scores import RowScores, mean_rows, scored_anew
from adaptkit.metrics.spans import span_rows, span_scores

ROWS = 40
random = np.random.default_rng(0)
WORDS = ["the", "cat", "sat", "on", "a", "mat", ",", "looked", "at", "me", "."]


def texts():
    return [" ".join(random.choice(WORDS, random.integers(1, 12))) for _ in range(ROWS)]


def spans():
    return [
        [(int(start), int(start) + 1, str(random.choice(list("abc")))) for start in starts]
        for starts in (random.integers(0, 3, random.integers(0, 4)) for _ in range(ROWS))
    ]


def several():
    return [[text] * (1 + i % 2) for i, text in enumerate(texts())]


# metric -> how its rows are made, its plain function, and how references and predictions are drawn
KINDS = {
    "labels": (
        lambda said, gold: RowScores((said, gold), classification),
        classification,
        *[lambda: random.integers(0, 4, ROWS)] * 2,
    ),
    "many labels": (
        multi_label_rows,
        multi_label,
        *[lambda: (random.random((ROWS, 5)) < 0.3).astype(int)] * 2,
    ),
    "numbers": (
        regression_rows,
        regression,
        *[lambda: random.normal(size=ROWS).round(1)] * 2,
    ),
    "spans": (lambda said, gold: span_rows(said, gold, "abc"), span_scores, spans, spans),
    "texts": (bleu_chrf_rows, bleu_chrf, texts, several),
    "summaries": (rouge_rows, rouge, texts, several),
    "anew": (
        lambda said, gold: scored_anew(
            lambda chosen, rows: classification(chosen, gold[rows]), list(said)
        ),
        classification,
        *[lambda: random.integers(0, 3, ROWS)] * 2,
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_drawn_rows_are_scored_as_the_rows_themselves(kind):
    make, score, predict, refer = KINDS[kind]
    wanted = refer()
    one, two = predict(), predict()
    scores, others = make(one, wanted), make(two, wanted)
    both = scores.and_rows(others)
    assert (len(scores), len(both)) == (ROWS, 2 * ROWS)
    assert scores() == score(one, wanted)
    for _ in range(5):
        rows = random.integers(0, ROWS, ROWS)
        again = score(*([values[i] for i in rows] for values in (one, wanted)))
        assert scores(rows) == pytest.approx(again, rel=1e-12)
        assert both(rows) == pytest.approx(again, rel=1e-12)
        assert both(rows + ROWS) == others(rows)


def test_rows_of_two_models_are_scored_together():
    wanted = random.integers(0, 3, ROWS)
    one, two = random.integers(0, 3, (2, ROWS))
    both = RowScores((one, wanted), classification).and_rows(
        RowScores((two, wanted), classification)
    )
    taken = random.random(ROWS) < 0.5
    mixed = classification(np.where(taken, two, one), wanted)
    assert both(np.arange(ROWS) + ROWS * taken) == mixed


def test_metrics_beside_others_are_of_the_same_rows():
    scores = mean_rows({"a": [0, 1, 1]}).beside(mean_rows({"b": [2.0, 4.0, 6.0]}))
    assert scores(np.asarray([0, 1])) == {"a": 0.5, "b": 3.0}
    assert scores.and_rows(scores)(np.asarray([2, 5])) == {"a": 1.0, "b": 6.0}


def test_drawn_queries_search_the_documents_of_all_rows():
    """Documents that were not drawn stay, or every query would be easier than it is."""
    queries = random.normal(size=(ROWS, 4))
    found = queries + random.normal(size=(ROWS, 4))
    names = [str(i // 2) for i in range(ROWS)]  # two queries for each document
    cosines = queries @ found[::2].T
    own = np.asarray([cosines[i, i // 2] for i in range(ROWS)])
    rank = (cosines >= own[:, None]).sum(1)
    rows = random.integers(0, ROWS, ROWS)
    scores = retrieval_rows(queries, found, names)(rows)
    assert scores["recall_at_1"] == (rank[rows] == 1).mean()
    assert scores["mean_reciprocal_rank"] == (1 / rank[rows]).mean()
