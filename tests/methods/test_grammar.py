"""What is written is read, and bad grammar is explained."""

import contextlib
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptkit import IA3, AdaptkitError, Bottleneck, LoRA, Prefix, parse_method
from adaptkit.methods.grammar import PRESETS, describe_method

methods = st.one_of(
    st.builds(
        LoRA,
        r=st.integers(1, 512),
        alpha=st.none() | st.floats(0.1, 99),
        dropout=st.floats(0, 0.9),
        rslora=st.booleans(),
        gate=st.booleans(),
        sites=st.lists(st.sampled_from(["attn.q", "ffn.*", "cross.out"]), unique=True).map(tuple),
    ),
    st.builds(
        Bottleneck,
        placement=st.sampled_from(["houlsby", "pfeiffer", "parallel"]),
        reduction=st.none() | st.floats(1, 64),
        activation=st.none() | st.sampled_from(["relu", "gelu", "silu"]),
        scale=st.sampled_from([None, "learned", "4.0"]),
    ),
    st.builds(Prefix, length=st.integers(1, 99), mlp=st.integers(0, 512), gate=st.booleans()),
    st.just(IA3()),
)


@given(st.lists(methods, min_size=1, max_size=3).map(tuple), st.booleans())
def test_what_is_written_is_read(union, full):
    again = parse_method(describe_method(union, full))
    assert again == union or full
    assert describe_method(again, full=True) == describe_method(
        union, full=True
    )  # in full defaults that depend on others are numbers
    assert [one.scale for one in again if isinstance(one, LoRA)] == [
        one.scale for one in union if isinstance(one, LoRA)
    ]


def test_the_grammar():
    assert parse_method("lora[r=8,sites=attn.q|attn.v]") == (LoRA(r=8, sites=("attn.q", "attn.v")),)
    assert parse_method(" lora[r=4] + prefix[length=16] ") == (LoRA(r=4), Prefix(length=16))
    assert parse_method("mam") == parse_method(PRESETS["mam"])
    assert [type(part) for part in parse_method("unipelt+ia3")] == [LoRA, Prefix, Bottleneck, IA3]


@pytest.mark.parametrize(
    "text, message",
    [
        ("lroa", "did you mean 'lora'"),
        ("lora[rank=8]", "unknown setting of lora 'rank'"),
        ("lora[alhpa=8]", "did you mean 'alpha'"),
        ("lora[r=many]", "r is of type int; it got 'many'"),
        ("lora[r=0]", "rank, 1 or more"),
        ("lora[dropout=1.0]", r"dropout is in \[0, 1\)"),
        ("lora[r=4,r=8]", "given twice"),
        ("lora[r]", "not key=value"),
        ("lora[r=4", "expected name"),
        ("lora++prefix", "a method is missing"),
        ("", "a method is missing"),
        ("mam[length=3]", "takes no settings"),
        ("lora[gate=maybe]", "gate is of type bool"),
        ("bottleneck[placement=parralel]", "did you mean 'parallel'"),
        ("bottleneck[activation=rleu]", "did you mean 'relu'"),
        ("bottleneck[scale=big]", "a number up to 1,000,000 or 'learned'"),
        ("bottleneck[reduction=0]", "reduction is 0.0625 or more"),
        ("prefix[length=0]", "length is 1 position or more"),
    ],
)
def test_bad_grammar_is_explained(text, message):
    with pytest.raises(AdaptkitError, match=message):
        parse_method(text)


@pytest.mark.parametrize(
    "text",
    [
        "lora[alpha=nan]",
        "lora[alpha=inf]",
        "lora[alpha=-1e308]",
        "lora[alpha=1e7]",
        "lora[r=100000000]",
        f"lora[r={10**300}]",
        f"lora[r={'9' * 5000}]",
        "lora[dropout=nan]",
        "bottleneck[scale=nan]",
        "bottleneck[scale=inf]",
        "bottleneck[scale=1e308]",
        "bottleneck[reduction=inf]",
        "bottleneck[reduction=nan]",
        "prefix[std=nan]",
        "prefix[std=-1]",
        "prefix[length=9999999999]",
    ],
)
def test_numbers_that_are_none_are_refused(text):
    with pytest.raises(AdaptkitError) as refusal:
        parse_method(text)
    assert len(str(refusal.value)) < 250


@pytest.mark.parametrize(
    "make",
    [
        lambda: LoRA(alpha=float("nan")),
        lambda: LoRA(r=10**6),
        lambda: Prefix(std=float("inf")),
        lambda: Bottleneck(scale="nan"),
        lambda: Bottleneck(reduction=float("inf")),
    ],
)
def test_so_are_those_that_a_program_gives(make):
    with pytest.raises(AdaptkitError):
        make()


HOSTILE = {
    "plus": "+" * 150_000,
    "terms": "+".join(["ia3"] * 50_000),
    "brackets": "lora[" * 30_000,
    "sites": f"lora[sites={'|'.join(['*a'] * 40_000)}]",
    "layers": f"lora[layers={'|'.join(['0'] * 75_000)}]",
    "settings": f"lora[{'a=b,' * 40_000}]",
    "name": "a" * 150_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_long_texts_take_no_time(name):
    start = time.process_time()
    with pytest.raises(AdaptkitError) as refusal:
        parse_method(HOSTILE[name])
    assert len(str(refusal.value)) < 400
    assert time.process_time() - start < 1


def test_the_longest_union_is_read_fast():
    start = time.process_time()
    assert len(parse_method("+".join(["lora[layers=" + "|".join("0" * 60) + "]"] * 64))) == 64
    assert time.process_time() - start < 1


words = st.sampled_from(["lora", "prefix", "bottleneck", "ia3", "mam", "peft:VERA", "fusion"])
keys = st.sampled_from(["r", "alpha", "layers", "sites", "scale", "std", "length", "gate", "odd"])
values = st.one_of(
    st.integers().map(str), st.floats().map(str), st.text(max_size=20), st.just("last[1]|0-3")
)
pairs = st.tuples(keys, values).map("=".join)
terms = st.tuples(words, st.lists(pairs, max_size=4).map(",".join)).map(lambda t: f"{t[0]}[{t[1]}]")


@settings(deadline=1000, max_examples=300)
@given(st.text(max_size=200) | st.lists(terms, max_size=4).map("+".join) | words | values)
def test_any_text_is_read_or_refused(text):
    with contextlib.suppress(AdaptkitError):
        union = parse_method(text)
        assert describe_method(union, full=True) == _twice(union)


def _twice(union) -> str:
    """What is read again of what was written, written again."""
    return describe_method(parse_method(describe_method(union, full=True)), full=True)


def test_a_plus_within_brackets_parts_no_methods():
    assert parse_method("lora[alpha=1e+2]+ia3") == parse_method("lora[alpha=100]+ia3")


def test_the_longest_text_that_is_read():
    text = "lora" + " " * (10_000 - len("lora"))
    assert parse_method(text) == parse_method("lora")
    with pytest.raises(AdaptkitError, match="at most 10,000 characters; this one has 10,001"):
        parse_method(text + " ")


@pytest.mark.parametrize("word", ["none", "None", "NONE"])
def test_a_setting_may_be_given_back_to_its_default(word):
    assert parse_method(f"lora[alpha={word},layers={word}]") == parse_method("lora")


def test_a_choice_of_layers_is_checked_when_it_is_read():
    with pytest.raises(AdaptkitError, match="choice of layers"):
        parse_method("lora[layers=upper]")
