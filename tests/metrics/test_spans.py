"""Entities against seqeval."""

import pytest
import seqeval.metrics
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptkit.metrics.iob import chunks
from adaptkit.metrics.modules import Spans
from adaptkit.metrics.spans import span_table
from tests.metrics.reference import EXACT, both

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")
TAGS = [
    st.sampled_from(["O", "B-a", "I-a", "B-b", "I-b"]),
    st.sampled_from(["O", "B-a", "I-a", "E-a", "S-a", "B-b", "I-b", "E-b", "S-b"]),
]


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(TAGS).flatmap(lambda tag: st.lists(both(tag), min_size=1, max_size=5)))
def test_entities_are_seqevals(sentences):
    said = [[one for one, _ in sentence] for sentence in sentences]
    gold = [[two for _, two in sentence] for sentence in sentences]
    scores = Spans().compute(predictions=said, references=gold)
    assert scores["f1"] == pytest.approx(
        seqeval.metrics.f1_score(gold, said, zero_division=0), **EXACT
    )
    assert scores["precision"] == pytest.approx(
        seqeval.metrics.precision_score(gold, said, zero_division=0), **EXACT
    )
    assert scores["recall"] == pytest.approx(
        seqeval.metrics.recall_score(gold, said, zero_division=0), **EXACT
    )
    report = seqeval.metrics.classification_report(gold, said, output_dict=True, zero_division=0)
    for row in span_table([chunks(tags) for tags in said], [chunks(tags) for tags in gold]):
        wanted = report[row["label"]]
        assert (row["precision"], row["recall"], row["f1"], row["support"]) == pytest.approx(
            (wanted["precision"], wanted["recall"], wanted["f1-score"], wanted["support"]), **EXACT
        )
