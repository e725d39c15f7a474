"""Methods that are known, how many parameters they have, and one from outside."""

import subprocess
import sys
from dataclasses import dataclass

import pytest

from adaptkit import AdaptkitError, Method, Param, adapt, register
from adaptkit.methods import registry
from tests.tiny import first, inputs, randomize, tiny


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
        "bias": 73_728,
        "reft": 12 * (2 * 4 * 768 + 4),
        "miss[sites=attn.q|attn.v]": 12 * 2 * 64 * 768,
        "vera[r=1024,sites=attn.q|attn.v]": 43_008,
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


@pytest.mark.parametrize(
    "what",
    [int, "lora", type("Bare", (Method,), {"name": "bare"}), dataclass(type("Other", (), {}))],
)
def test_what_is_no_method_is_not_registered(what):
    with pytest.raises(AdaptkitError, match=r"register takes a @dataclass\(frozen=True\) derived"):
        register(what)


@pytest.mark.parametrize("name", ["", "My_method", "1st", "my-method", "my method", "m\n"])
def test_a_name_that_the_grammar_cannot_read_is_refused(name):
    made = dataclass(frozen=True)(type("Mine", (Method,), {"name": name}))
    with pytest.raises(AdaptkitError, match=r"Mine.name = .* a method's name is lower case"):
        register(made)


def test_a_method_of_adaptkits_keeps_its_name():
    with pytest.raises(AdaptkitError, match="'lora' is the name of a method of adaptkit's"):

        @register
        @dataclass(frozen=True)
        class Mine(Method):
            name = "lora"


def test_one_from_outside_may_be_replaced(monkeypatch):
    """As in a notebook, where a cell runs twice."""
    monkeypatch.setattr(registry, "METHODS", dict(registry.METHODS))
    one, two = (
        dataclass(frozen=True)(type(name, (Method,), {"name": "mine", "__module__": module}))
        for name, module in (("One", "first"), ("Two", "second"))
    )
    assert register(one) is one
    assert registry.known_methods()["mine"] is one
    register(two)
    assert registry.known_methods()["mine"] is two


def test_it_keeps_its_name_in_a_process_that_has_loaded_none():
    lines = (
        "from dataclasses import dataclass",
        "from adaptkit import Method, register",
        "register(dataclass(frozen=True)(type('Mine', (Method,), {'name': 'lora'})))",
    )
    found = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True)
    assert found.returncode == 1
    assert "'lora' is the name of a method of adaptkit's" in found.stderr
