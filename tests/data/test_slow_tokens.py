"""The characters of tokens, where the tokenizer does not tell them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptkit import AdaptkitError
from adaptkit.data.alignment import encode_windows, tokens_of
from adaptkit.data.slow_tokens import SlowTokens
from adaptkit.data.tables import Table
from adaptkit.data.texts import visible_part
from tests.helpers.tokenizers import kind, slow

BERT = kind("bert")
PARTS = st.sampled_from(
    [
        "Bern",
        "unbelievably",
        "cafe\u0301",
        "किताबें",
        "x\u200by",
        "北京",
        "!?",
        "\u2764\ufe0f",
        "[SEP]",
        "Ǆ",
    ]
)
TEXTS = st.lists(st.tuples(PARTS, st.sampled_from(["", " ", "\n  "])), min_size=1, max_size=8)


def spans(text, places):
    """Spans without blanks around them."""
    return [visible_part(text, *place) for place in places]


@settings(max_examples=150, deadline=None)
@given(TEXTS)
def test_word_pieces_are_placed_as_the_fast_tokenizer_places_them(parts):
    """Its spans, or where unknown tokens leave it open, one span around those of several tokens."""
    text = "".join(one for pair in parts for one in pair)
    fast, wanted = tokens_of(kind("word pieces"), text)
    ids, places = SlowTokens(BERT)(text)
    assert ids == fast
    unknown = BERT.unk_token_id
    for token, own, place in zip(ids, spans(text, places), spans(text, wanted), strict=True):
        assert own[0] <= place[0]
        assert place[1] <= own[1]
        assert own == place or unknown in ids or token != unknown


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(["canine", "byt5"]), TEXTS)
def test_characters_and_bytes_are_placed_exactly(name, parts):
    text = "".join(one for pair in parts for one in pair).replace("[SEP]", "")
    _, places = SlowTokens(kind(name))(text)
    sizes = [1 if name == "canine" else len(one.encode()) for one in text]
    assert places == [(at, at + 1) for at, size in enumerate(sizes) for _ in range(size)]


def test_japanese_characters_are_placed_by_what_is_known_between_them():
    text = "私は東京都がﾃｽ に。"
    _, places = SlowTokens(kind("japanese"))(text)
    assert [text[start:end] for start, end in places] == [one for one in text if one != " "]


@pytest.mark.parametrize("name", ["bert", "canine", "byt5"])
@pytest.mark.parametrize("pair", [False, True])
def test_windows_of_slow_tokenizers_are_those_of_fast_ones(name, pair):
    """Each window is what the tokenizer makes of its part; neighbours share tokens."""
    tokenizer, context = kind(name), " ".join(["Bern", "unbelievably", "cafe\u0301", "!"] * 9)
    texts = [("which one", context)] if pair else [(context,)]
    columns = encode_windows(tokenizer, texts, 48, 5, Table([{}], "x").bad)
    ids, _ = tokens_of(tokenizer, context)
    seen = []
    for window, offsets in zip(columns["input_ids"], columns["_offsets"], strict=True):
        assert len(window) == len(offsets) <= 48
        inside = [place for place, (start, _) in enumerate(offsets) if start >= 0]
        part = [window[place] for place in inside]
        front = [tokenizer("which one", add_special_tokens=False)["input_ids"]] if pair else []
        assert window == tokenizer.build_inputs_with_special_tokens(*front, part)
        assert seen[len(seen) - 5 :] == part[:5] or not seen
        seen += part[5:] if seen else part
    assert seen == ids
    if name == "bert":
        fast = encode_windows(kind("word pieces"), texts, 48, 5, Table([{}], "x").bad)
        for column in ("input_ids", "attention_mask", "_row"):
            assert columns[column] == fast[column]
        assert columns["_offsets"] == fast["_offsets"]


def test_tokens_that_are_not_those_of_the_text_are_refused():
    class Reversed(type(BERT)):
        def _tokenize(self, text, **more):
            return super()._tokenize(text, **more)[::-1]

    tokenizer = slow("bert")
    tokenizer.__class__ = Reversed
    with pytest.raises(
        AdaptkitError, match=r"t\.csv row 0: Reversed does not tell .* fast tokenizer"
    ):
        encode_windows(tokenizer, [("the new lamp is here",)], 16, 2, Table([{}], "t.csv").bad)
