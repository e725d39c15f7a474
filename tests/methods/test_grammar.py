"""What is written is read, and bad grammar is explained."""

import pytest
from hypothesis import given
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
        ("bottleneck[scale=big]", "a number or 'learned'"),
        ("bottleneck[reduction=0]", "reduction is more than 0"),
        ("prefix[length=0]", "length is 1 position or more"),
    ],
)
def test_bad_grammar_is_explained(text, message):
    with pytest.raises(AdaptkitError, match=message):
        parse_method(text)
