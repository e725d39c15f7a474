"""The table of architectures, discovery, and what happens when neither knows."""

import pytest
import torch
from torch import nn

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
    untested = {name for name, stacks in ARCHITECTURES.items() if id(stacks) not in tested}
    assert untested == {
        "gemma3"
    }  # the multimodal wrapper of gemma3_text: the same layers below another path


def test_grouped_queries_and_packed_projections_have_their_own_widths():
    by_name = {site.name: site for site in find_sites(tiny("phi3")) if site.layer == 0}
    assert [by_name[f"attn.{m}"].part for m in "qkv"] == [(0, 32), (32, 48), (48, 64)]
    assert by_name["ffn.gate"].part == (0, 48)
    assert by_name["attn"].heads == 2


@pytest.mark.parametrize(
    "name",
    [name for name in CONFIGS if "ffn.gate" in {site.name for site in find_sites(tiny(name))}],
)
def test_ffn_in_of_a_gated_block_is_the_branch_without_activation(name):
    """So a factor there is the same as one on what the last map of the block reads, which is
    (IA)3's place.
    """
    adapted = adapt(tiny(name), "ia3[sites=ffn.in]")
    randomize(adapted)
    plain = tiny(name)
    factors = [value for key, value in adapted.named_parameters() if value.requires_grad]
    last = [
        plain.get_submodule(site.module) for site in find_sites(plain) if site.name == "ffn.out"
    ]
    with torch.no_grad():
        for module, factor in zip(last, factors, strict=True):
            module.weight.mul_(factor)
    torch.testing.assert_close(
        first(adapted.eval()(**inputs(name))), first(plain(**inputs(name))), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("name", ["bert", "llama", "vit", "opt", "distilbert"])
def test_discovery_finds_what_the_table_says(name, monkeypatch):
    wanted = {
        (s.name, s.module, s.layer)
        for s in find_sites(tiny(name))
        if s.kind in ("map", "attention")
    }
    monkeypatch.setattr("adaptkit.models.find_sites.table_entry", lambda config: None)
    assert {(s.name, s.module, s.layer) for s in find_sites(tiny(name))} == wanted


def test_an_unclear_structure_is_an_error_that_shows_the_entry_to_write(monkeypatch):
    monkeypatch.setattr("adaptkit.models.find_sites.table_entry", lambda config: None)
    with pytest.raises(AdaptkitError) as error:
        adapt(tiny("gpt2"), "lora")
    assert "h.0" in str(error.value)
    assert "attn.c_attn: 32 -> 96" in str(error.value)
    assert "register_architecture('gpt2'" in str(error.value)


def test_a_user_registers_an_architecture(monkeypatch):
    monkeypatch.setitem(ARCHITECTURES, "bert", ARCHITECTURES["bert"])
    register_architecture("bert", Stack("encoder.layer.*", {"attn.q": "attention.self.query"}))
    assert {site.name for site in find_sites(tiny("bert"))} == {"attn.q"}
    with pytest.raises(AdaptkitError, match="wants one Stack"):
        register_architecture("bert", "encoder.layer.*")


def test_a_model_without_layers_is_refused():
    class Config:
        model_type = "mystery"

    class Model(nn.Module):
        config = Config()

        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(2, 2)

    with pytest.raises(AdaptkitError, match="No list of equal layers"):
        find_sites(Model())


def test_switching_the_attention_later_still_works():
    model = adapt(tiny("bert", attn="eager"), "prefix[length=3]")
    randomize(model)
    with torch.no_grad():
        before = first(model.eval()(**inputs("bert")))
        model.get_base_model().set_attn_implementation("sdpa")
        torch.testing.assert_close(first(model(**inputs("bert"))), before, atol=1e-5, rtol=1e-4)
