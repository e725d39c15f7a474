"""The grammar, the registry, and settings that are refused."""

import re
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptkit import (
    IA3,
    AdaptkitError,
    Bottleneck,
    LoRA,
    Method,
    Param,
    Prefix,
    adapt,
    parse_method,
    register,
)  # isort: skip
from adaptkit.methods import registry
from adaptkit.methods.grammar import PRESETS, describe_method
from tests.tiny import first, inputs, randomize, tiny

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
        ("bottleneck[reduction=0.5]", "reduction is 1 or more"),
        ("prefix[length=0]", "length is 1 position or more"),
    ],
)
def test_bad_grammar_is_explained(text, message):
    with pytest.raises(AdaptkitError, match=message):
        parse_method(text)


@pytest.mark.parametrize(
    "method, message",
    [
        ("lora[sites=attn.qq]", "unknown site 'attn.qq'; did you mean 'attn.q'"),
        ("lora[sites=cross.q]", "which this model does not have"),
        ("lora[sites=attn]", "which this model does not have for this method"),
        ("peft:LOOHA", "did you mean 'LOHA'"),
        ("peft:LOHA[rr=3]", "unknown setting of peft:LOHA 'rr'"),
        ("peft:LOHA+lora", "cannot be part of a union"),
    ],
)
def test_methods_that_a_model_cannot_take(method, message):
    model = tiny("bert")
    with pytest.raises(AdaptkitError, match=message):
        adapt(model, method)
    assert not hasattr(model, "peft_config")


def test_parameter_counts_at_bert_base_size():
    """The published counts of these forms."""
    size = {
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
    }
    counts = {
        "bottleneck[placement=pfeiffer]": 894_528,
        "bottleneck": 1_789_056,
        "lora[sites=attn.q|attn.v]": 294_912,
        "prefix[length=10]": 184_320,
        "ia3": 55_296,
    }
    for method, count in counts.items():
        assert adapt(tiny("bert", **size), method).get_nb_trainable_parameters()[0] == count


def test_a_method_from_outside_is_one_class(monkeypatch):
    monkeypatch.setattr(registry, "METHODS", dict(registry.METHODS))

    @register
    @dataclass(frozen=True)
    class Shift(Method):
        name = "shift"
        default_sites = ("ffn.out",)
        affine = True
        size: float = 1.0

        def spec(self, site):
            return {"by": Param((site.width_out,))}

        def apply(self, p, x, y, *, training=False):
            return y + self.size * (p["by"] if p["by"].ndim == 1 else p["by"].unsqueeze(-2))

    model = adapt(
        tiny("llama"), "shift[size=2]+lora[r=2]"
    )  # llama's maps have no bias: merging has to add one
    randomize(model)
    apart = first(model.eval()(**inputs("llama")))
    assert (first(model.merge_and_unload()(**inputs("llama"))) - apart).abs().max() < 1e-4
    with pytest.raises(AdaptkitError, match="frozen=True"):
        register(int)


@pytest.mark.parametrize(
    "method",
    [
        "peft:LOHA[r=4,target_modules=query|value]",
        "peft:IA3[target_modules=key|dense,feedforward_modules=dense]",
    ],
)
def test_pefts_own_methods_are_accepted(method):
    model = adapt(tiny("bert"), method)
    assert model.get_nb_trainable_parameters()[0] > 0
    assert first(model(**inputs("bert"))).shape == (3, 9, 32)


def test_layers_are_chosen_by_number():
    from adaptkit.methods.layer_ranges import chosen_layers

    assert chosen_layers("6-", 12) == set(range(6, 12))
    assert chosen_layers("last[4]", 12) == {8, 9, 10, 11}
    assert chosen_layers("0|2-3", 6) == {0, 2, 3}
    assert chosen_layers("5", 6) == {5}
    for text in ("6", "3-6", "last[7]", "6-"):
        with pytest.raises(AdaptkitError, match="this model has 6 layers, 0 to 5"):
            chosen_layers(text, 6)


@pytest.mark.parametrize("text", ["", "x", "1,2", "4-2", "last", "last[0]", "-1", "1||2"])
def test_what_is_no_choice_of_layers_is_refused(text):
    from adaptkit.methods.layer_ranges import check_layers

    with pytest.raises(AdaptkitError, match="choice of layers|chooses no layer"):
        check_layers(text)


def test_only_the_chosen_layers_are_touched():
    model = adapt(tiny("bart"), "lora[layers=last[1]]+prefix[layers=0,length=2]", head=[])
    touched = {
        name.split(".adaptkit")[0] for name, p in model.named_parameters() if p.requires_grad
    }
    lora = {name for name in touched if any(part in name for part in (".fc1", ".fc2", ".out_proj"))}
    assert lora
    assert all(".layers.1." in name for name in lora)
    assert {"encoder.layers.0", "decoder.layers.0"} <= {
        re.search(r"\w+\.layers\.\d", name)[0] for name in touched
    }


def test_with_rslora_the_default_scale_falls_with_the_root_of_the_rank():
    scales = [parse_method(f"lora[r={r},rslora=true]")[0].scale for r in (4, 16, 64)]
    assert scales == [4, 2, 1]
