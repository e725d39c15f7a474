"""The table of architectures: every entry takes every site, and users add their own."""

import pytest

from adaptkit import AdaptkitError, Stack, adapt, find_sites, register_architecture
from adaptkit.models.architectures import ARCHITECTURES
from tests.tiny import CONFIGS, first, inputs, randomize, tiny


@pytest.mark.parametrize("name", CONFIGS)
def test_every_architecture_takes_every_site(name):
    model = tiny(name)
    sites = find_sites(model)
    names = {site.name for site in sites}
    expected = {
        "attn.q",
        "attn.k",
        "attn.v",
        "attn.out",
        "ffn.in",
        "ffn.out",
        "ffn",
        "layer",
        "attn",
    }
    assert expected - ({"attn"} if name == "deberta-v2" else set()) <= names
    assert len({site.layer for site in sites}) == (1 if name == "albert" else 2)
    alone = first(model(**inputs(name)))
    placements = ("houlsby", "pfeiffer", "parallel")  # with an activation that no unit dies of
    union = (
        "+".join(f"bottleneck[placement={place},activation=gelu]" for place in placements)
        + "+lora[r=2]+ia3"
    )
    adapted = adapt(model, union if name == "deberta-v2" else union + "+prefix[length=2]")
    randomize(adapted)
    out = first(adapted.eval()(**inputs(name)))
    out.square().sum().backward()
    assert (out - alone).abs().max() > 1e-3
    assert not [
        key
        for key, p in adapted.named_parameters()
        if p.requires_grad and (p.grad is None or not p.grad.any())
    ]


def test_every_entry_of_the_table_is_tested():
    from transformers import CONFIG_MAPPING

    from adaptkit.models.architectures import table_entry

    tested = {
        id(table_entry(CONFIG_MAPPING[kind](**settings))) for kind, settings in CONFIGS.values()
    }
    assert {name for name, stacks in ARCHITECTURES.items() if id(stacks) not in tested} == set()


def test_a_user_registers_an_architecture(monkeypatch):
    monkeypatch.setitem(ARCHITECTURES, "bert", ARCHITECTURES["bert"])
    register_architecture("bert", Stack("encoder.layer.*", {"attn.q": "attention.self.query"}))
    assert {site.name for site in find_sites(tiny("bert"))} == {"attn.q"}
    register_architecture("bert", Stack("encoder.layer.*", {"attn.q": "attention.self.queries"}))
    with pytest.raises(AdaptkitError, match=r"no module attention\.self\.queries"):
        find_sites(tiny("bert"))
    with pytest.raises(AdaptkitError, match="wants one Stack"):
        register_architecture("bert", "encoder.layer.*")
