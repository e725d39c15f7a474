"""One label has one name, however tools spell it."""

import json
import math
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptkit.data.labels import (
    NotALabelError,
    is_missing,
    label_key,
    parse_list,
    settle,
    settled_notes,
    spell,
)

ONES = (1, 1.0, "1", "1.0", " 1 ", "1.", "01", "+1", np.int64(1), np.float32(1), Decimal("1.00"))


@pytest.mark.parametrize("value", ONES)
def test_a_whole_number_is_one_label_however_it_is_written(value):
    assert label_key(spell(value)) == "1"
    assert settle([spell(value), "1", "2"])[spell(value)] == "1"


@pytest.mark.parametrize(
    "value, text",
    [
        (True, "True"),
        (np.bool_(False), "False"),
        (np.str_("good"), "good"),
        (0.5, "0.5"),
        (np.float32(0.1), "0.1"),
        (Decimal("0.50"), "0.5"),
        (1e22, "10000000000000000000000"),
        (-0.0, "0"),
        ("1.10", "1.10"),
        ("007", "007"),
        ("1e3", "1e3"),
    ],
)
def test_other_values_are_the_texts_that_they_look_like(value, text):
    assert spell(value) == text


@pytest.mark.parametrize(
    "value", [None, math.nan, np.float32("nan"), pd.NA, pd.NaT, "", " \t", "\u200b", Decimal("nan")]
)
def test_a_missing_value_is_no_label(value):
    assert is_missing(value)
    with pytest.raises(NotALabelError, match="is empty|is missing"):
        spell(value)


@pytest.mark.parametrize(
    "value",
    [math.inf, b"good", object(), {"a": 1}, ["a"], "\ud800", pytest.param(10**5000, id="huge"), 1j],
)
def test_what_is_no_text_and_no_number_is_no_label(value):
    with pytest.raises(NotALabelError) as error:
        spell(value)
    assert len(str(error.value)) < 200


@pytest.mark.parametrize(
    "one, two",
    [
        ("caf\u00e9", "cafe\u0301"),  # composed, and with a mark of its own
        ("good", "go\u200bod"),
        ("good", "\ufeffgood"),
        ("good", "good\u00ad"),
        ("\u2764", "\u2764\ufe0f"),
        ("true", "TRUE"),
        ("12", "\uff11\uff12"),
        ("0", "-0.0"),
    ],
)
def test_spellings_that_nobody_can_tell_apart_are_one_label(one, two):
    assert label_key(one) == label_key(two)
    assert settle([one, two]) == {one: label_key(one), two: label_key(one)}
    assert settle([two], known=[one]) == {two: one}


@pytest.mark.parametrize(
    "one, two",
    [
        ("1", "-1"),
        ("1", "1.5"),
        ("1.1", "1.10"),
        ("Good", "good"),
        ("\U0001f469\u200d\U0001f692", "\U0001f469\U0001f692"),  # a firefighter, and two pictures
        ("1" + "0" * 300, "01" + "0" * 300),
    ],
)
def test_labels_that_can_be_told_apart_stay_two(one, two):
    assert label_key(one) != label_key(two)


def test_a_label_keeps_its_only_spelling_and_of_several_gets_the_plainest():
    assert settle(["007", "12"]) == {"007": "007", "12": "12"}
    assert settle(["1.0", "2.0"]) == {"1.0": "1", "2.0": "2"}
    assert settle(["1.0", "1.5"]) == {"1.0": "1.0", "1.5": "1.5"}  # a version, or a half star
    assert settle(["True", "False"]) == {"True": "True", "False": "False"}
    assert settle(["True", "true"]) == {"True": "true", "true": "true"}


def test_the_names_of_a_trained_task_are_kept():
    old = ["True", "0.0", "007"]  # as earlier versions saved them
    assert settle(["true", "0", "7", "new"], old) == {
        "true": "True",
        "0": "0.0",
        "7": "007",
        "new": "new",
    }
    both = ["1", "1.0"]
    assert settle(both, both) == {"1": "1", "1.0": "1.0"}


def test_a_note_tells_what_was_read_as_one_label():
    assert settled_notes(settle(["1", "1.0", "2"])) == [
        "the label '1' is written '1' and '1.0': these are read as one label"
    ]
    (note,) = settled_notes(settle(["\u00e9", "e\u0301"]))
    assert "'\\xe9' and 'e\\u0301'" in note
    assert settled_notes(settle(["a", "b"])) == []


@pytest.mark.parametrize(
    "text, items",
    [
        ("['a', 'b']", ["a", "b"]),
        ('["a", "b"]', ["a", "b"]),
        ("['a' 'b']", ["a", "b"]),  # numpy's
        ("('a',)", ["a"]),
        ("{'a', 'b'}", ["a", "b"]),
        ("[1, 0, 0]", [1, 0, 0]),
        ("[1 0 0]", [1, 0, 0]),
        ("[1. 0. 0.]", [1.0, 0.0, 0.0]),
        ("[True, false]", [True, False]),
        ("[]", []),
        (r"['it\'s', 'a\xa0b']", ["it's", "a\xa0b"]),
        ("[sic]", None),
        ("[a, b]", None),
        ("a, b", None),
        ("['a', 'b'", None),
        ("[" * 5000, None),
        ("['a'" + ", 'a'" * 10**5 + "]", None),
    ],
)
def test_lists_in_texts(text, items):
    assert parse_list(text) == items


# What a label denotes, told by other means than the code under test.

WORDS = st.sampled_from(["good", "bad", "caf\u00e9", "no. 1", "1.5"])


@st.composite
def spelled(draw):
    """(what is denoted, one of its spellings)"""
    kind = draw(st.sampled_from(["whole", "truth", "word", "fraction"]))
    if kind == "whole":
        number = draw(st.integers(-(10**6), 10**6))
        sign, size = ("-" if number < 0 else ""), abs(number)
        ways = (number, float(number), np.int64(number), f"{number}.0", f" {number}", str(number))
        return number, draw(st.sampled_from([*ways, f"{sign}0{size}", f"{number}\u200b"]))
    if kind == "truth":
        truth = draw(st.booleans())
        ways = (truth, np.bool_(truth), str(truth), str(truth).lower(), str(truth).upper())
        return str(truth), draw(st.sampled_from(ways))
    if kind == "fraction":
        fraction = Fraction(draw(st.integers(-99, 99)) * 2 + 1, 4)
        return fraction, draw(st.sampled_from([float(fraction), str(float(fraction))]))
    word = draw(WORDS)
    apart = "cafe\u0301" if word == "caf\u00e9" else word
    return Fraction(3, 2) if word == "1.5" else word, draw(
        st.sampled_from([word, apart, f" {word}\t", f"{word[0]}\u200b{word[1:]}", f"\ufeff{word}"])
    )


@settings(deadline=None, max_examples=150)
@given(st.lists(spelled(), min_size=1, max_size=12))
def test_names_are_equal_if_and_only_if_they_denote_the_same(rows):
    spellings = [spell(value) for _, value in rows]
    names = settle(spellings)
    for one, first in zip(rows, spellings, strict=True):
        for two, second in zip(rows, spellings, strict=True):
            assert (names[first] == names[second]) == (one[0] == two[0])
    assert {spell(name): name for name in names.values()} == settle(names.values())
    saved = json.loads(json.dumps(sorted(set(names.values()))))
    assert settle(spellings, saved) == names  # a saved list gives the same ids
    assert settle(saved, saved) == {name: name for name in saved}


@settings(deadline=None, max_examples=200)
@given(st.text(max_size=12))
def test_the_key_of_a_key_is_itself(text):
    assert label_key(label_key(text)) == label_key(text)
