"""Numbers against scikit-learn and scipy."""

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptkit.metrics.modules import Regression
from tests.metrics.reference import EXACT, both

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")


@settings(max_examples=60, deadline=None)
@given(both(st.sampled_from([0.0, 1.0, 1.5, 2.0, -3.25, 7.0])))
def test_regression_is_scipys(rows):
    said, gold = map(np.asarray, zip(*rows, strict=True))
    scores = Regression().compute(predictions=said, references=gold)
    for name, function in (("pearson", scipy.stats.pearsonr), ("spearmanr", scipy.stats.spearmanr)):
        constant = len(set(said)) == 1 or len(set(gold)) == 1
        wanted = 0.0 if constant else function(said, gold).statistic
        assert scores[name] == pytest.approx(wanted, **EXACT)
    assert scores["mae"] == pytest.approx(sklearn.metrics.mean_absolute_error(gold, said), **EXACT)
    assert scores["rmse"] == pytest.approx(
        sklearn.metrics.root_mean_squared_error(gold, said), **EXACT
    )
