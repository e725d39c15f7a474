"""Relations as the official scorer of SemEval counts them."""

import pytest

from adaptkit.metrics.relations import semeval_f1

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")


def test_the_official_score_of_semeval():
    """By hand: A 2 right of 3 said and 3 gold; B the wrong way round is wrong but said and gold;
    Other does not count.
    """
    gold = ["A(e1,e2)", "A(e1,e2)", "A(e2,e1)", "B(e1,e2)", "Other", "Other"]
    said = ["A(e1,e2)", "A(e1,e2)", "A(e1,e2)", "B(e2,e1)", "Other", "B(e1,e2)"]
    assert semeval_f1(said, gold) == pytest.approx((2 / 3 + 0) / 2)
    assert semeval_f1(gold, gold) == 1
    assert (
        semeval_f1(["A(e1,e2)", "B(e1,e2)"], ["A(e1,e2)", "Other"]) == 1
    )  # B is no relation of the gold
