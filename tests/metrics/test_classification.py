"""Labels, one a row or several, against scikit-learn."""

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptkit.metrics.classification import table_by_label
from adaptkit.metrics.modules import Classification, MultiLabel
from tests.metrics.reference import EXACT, both

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 6).flatmap(lambda n: both(st.integers(0, n - 1))))
def test_classification_is_scikit_learns(rows):
    said, gold = map(list, zip(*rows, strict=True))
    scores = Classification().compute(predictions=said, references=gold)
    wanted = sklearn.metrics.precision_recall_fscore_support(
        gold, said, average="macro", zero_division=0
    )
    assert scores["accuracy"] == pytest.approx(sklearn.metrics.accuracy_score(gold, said), **EXACT)
    assert [scores[name] for name in ("precision", "recall", "f1")] == pytest.approx(
        wanted[:3], **EXACT
    )
    assert scores["matthews_correlation"] == pytest.approx(
        sklearn.metrics.matthews_corrcoef(gold, said), **EXACT
    )


@settings(max_examples=40, deadline=None)
@given(
    st.integers(2, 5).flatmap(lambda n: both(st.lists(st.integers(0, 1), min_size=n, max_size=n)))
)
def test_several_labels_a_row_are_scikit_learns(rows):
    said, gold = map(np.asarray, zip(*rows, strict=True))
    scores = MultiLabel().compute(predictions=said, references=gold)
    for average, suffix in (("macro", ""), ("micro", "_micro")):
        wanted = sklearn.metrics.f1_score(gold, said, average=average, zero_division=0)
        assert scores["f1" + suffix] == pytest.approx(wanted, **EXACT)
    assert scores["precision"] == pytest.approx(
        sklearn.metrics.precision_score(gold, said, average="macro", zero_division=0), **EXACT
    )
    assert scores["accuracy"] == pytest.approx(sklearn.metrics.accuracy_score(gold, said), **EXACT)


def test_the_table_by_label_is_scikit_learns():
    gold, said = np.asarray([0, 0, 1, 2, 2, 2]), np.asarray([0, 1, 1, 2, 2, 0])
    hits = [int(((gold == k) & (said == k)).sum()) for k in range(3)]
    rows = table_by_label(
        ["a", "b", "c"],
        hits,
        [(said == k).sum() for k in range(3)],
        [(gold == k).sum() for k in range(3)],
    )
    wanted = sklearn.metrics.precision_recall_fscore_support(gold, said)
    for i, row in enumerate(rows):
        assert [row[key] for key in ("precision", "recall", "f1", "support")] == pytest.approx(
            [w[i] for w in wanted], **EXACT
        )


pairs = st.integers(1, 6).flatmap(
    lambda n: st.lists(
        st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)), min_size=1, max_size=60
    )
)


@settings(max_examples=40, deadline=None)
@given(pairs)
@pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.UndefinedMetricWarning", "ignore::UserWarning"
)
def test_metrics_are_scikit_learns(rows):
    gold, said = map(list, zip(*rows, strict=True))
    scores = Classification().compute(predictions=said, references=gold)
    precision, recall, f1, _ = sklearn.metrics.precision_recall_fscore_support(
        gold, said, average="macro", zero_division=0
    )
    assert scores["accuracy"] == pytest.approx(sklearn.metrics.accuracy_score(gold, said))
    assert (scores["precision"], scores["recall"], scores["f1"]) == pytest.approx(
        (precision, recall, f1)
    )
    assert scores["matthews_correlation"] == pytest.approx(
        sklearn.metrics.matthews_corrcoef(gold, said)
    )
