"""Units of a text, and entities over them."""

import pytest

from adaptkit.data.entities import join_tokens, tags_from_entities, units_of
from adaptkit.metrics.spans import span_scores


def test_of_overlapping_entities_the_longest_is_tagged_and_both_are_scored():
    text = "University of Bern"
    entities = [{"start": 14, "end": 18, "label": "city"}, {"start": 0, "end": 18, "label": "org"}]
    assert tags_from_entities(entities, units_of(text)) == ["B-org", "I-org", "I-org"]
    assert span_scores([[(0, 18, "org")]], [[(0, 18, "org"), (14, 18, "city")]])["recall"] == 0.5


def test_words_are_joined_as_their_script_is_written():
    text, places = join_tokens(["我", "在", "Bern", "!"])
    assert text == "我在 Bern !"
    assert [text[a:b] for a, b in places] == ["我", "在", "Bern", "!"]
    odd = "don't 北京2号_x"
    assert [odd[a:b] for a, b in units_of(odd)] == ["don", "'", "t", "北", "京", "2", "号", "_x"]


@pytest.mark.parametrize(
    ("text", "count"),
    [("\u0939\u093f\u0928\u094d\u0926\u0940 hai", 2), ("cafe\u0301!", 2), ("\u6c34\u58f6 a", 3)],
)
def test_marks_belong_to_the_word_before(text, count):
    units = units_of(text)
    assert len(units) == count
    assert "".join(text[start:end] for start, end in units) == text.replace(" ", "")
