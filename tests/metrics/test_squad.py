"""Answers as SQuAD scores them, by its definition."""

import re
import string
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptkit.metrics import squad
from tests.metrics.reference import EXACT

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")


def squad_by_definition(said: str, gold: str) -> tuple[float, float]:
    """SQuAD's words: lower case, no punctuation, no articles; F1 of the bags of words."""

    def bag(text):
        bare = "".join(
            character for character in text.lower() if character not in set(string.punctuation)
        )
        return [word for word in re.sub(r"\b(a|an|the)\b", " ", bare).split() if word]

    one, two = bag(said), bag(gold)
    common = sum((Counter(one) & Counter(two)).values())
    if not one or not two:
        return float(one == two), float(one == two)
    return float(one == two), 0.0 if not common else 2 * common / (len(one) + len(two))


WORDS = st.lists(
    st.sampled_from(["the", "red", "a", "house!", "An", "Bär", "u.s.", "x-y", "42"]), max_size=6
).map(" ".join)


@settings(max_examples=150, deadline=None)
@given(WORDS, st.lists(WORDS, min_size=1, max_size=3))
def test_answers_are_scored_as_squad_defines(said, references):
    wanted = [squad_by_definition(said, reference) for reference in references]
    assert squad.exact_match(said, references) == max(exact for exact, _ in wanted)
    assert squad.f1(said, references) == pytest.approx(max(f1 for _, f1 in wanted), **EXACT)


def test_chinese_answers_are_counted_by_character():
    assert squad.f1("北京大学", ["北京"]) == pytest.approx(2 / 3)
    assert squad.exact_match("《北京》。", ["北京"]) == 1
    assert squad.f1("308分", ["308 分"]) == 1
    assert squad.exact_match("", []) == squad.f1("", []) == 1
    assert squad.exact_match("北京", []) == 0
