"""chrF against sacrebleu."""

import numpy as np
import pytest
import sacrebleu
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptkit.metrics.chrf import chrf, chrf_counts
from tests.metrics.reference import EXACT

TEXTS = st.text("ab 我.", max_size=12)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(TEXTS, TEXTS, TEXTS), min_size=1, max_size=4))
def test_chrf_is_sacrebleus(rows):
    said, one, two = map(list, zip(*rows, strict=True))
    counts = [chrf_counts(text, several) for text, *several in rows]
    wanted = sacrebleu.corpus_chrf(said, [one, two]).score
    assert chrf(np.sum(counts, 0)) == pytest.approx(wanted, **EXACT)
