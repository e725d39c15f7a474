"""Sites have the widths and places of what they name."""

import dataclasses

import pytest
import torch

from adaptkit import AdaptkitError, adapt, find_sites
from adaptkit.models.architectures import table_entry
from adaptkit.models.find_sites import (
    first_layers,
    last_layer_sites,
    layer_paths,
    missing_sites,
)
from adaptkit.models.sites import Site
from tests.tiny import CONFIGS, first, inputs, randomize, tiny


def test_grouped_queries_and_packed_projections_have_their_own_widths():
    by_name = {site.name: site for site in find_sites(tiny("phi3")) if site.layer == 0}
    assert [by_name[f"attn.{m}"].part for m in "qkv"] == [(0, 32), (32, 48), (48, 64)]
    assert by_name["ffn.gate"].part == (0, 48)
    assert by_name["attn"].heads == 2


GATED = ("modernbert", "llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3", "phi3", "mt5")


@pytest.mark.parametrize("name", CONFIGS)
def test_which_architectures_have_a_gated_block(name):
    assert ("ffn.gate" in _sites(tiny(name))) == (name in GATED)


@pytest.mark.parametrize("name", GATED)
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


def _sites(model, layer: int = 0) -> dict:
    return {site.name: site for site in find_sites(model) if site.layer == layer}


def test_the_width_of_the_keys_in_a_map_for_queries_keys_and_values():
    """Three times 32, or 32 and twice 8: the queries are as wide as what the output map reads."""
    from transformers import AutoModel, GPTBigCodeConfig

    size = {"vocab_size": 100, "n_embd": 32, "n_layer": 1, "n_head": 4}
    many = AutoModel.from_config(GPTBigCodeConfig(**size, multi_query=False))
    one = AutoModel.from_config(GPTBigCodeConfig(**size, multi_query=True))
    found = [_sites(model) for model in (many, one)]
    assert [sites["attn.qkv"].width_out for sites in found] == [96, 48]
    assert [(sites["attn"].width_out, sites["attn"].heads) for sites in found] == [(32, 4), (8, 1)]


def test_keys_in_a_packed_map_without_a_known_output_map_are_a_third():
    from adaptkit.models.find_sites import _packed_width

    packed = Site("attn.qkv", "qkv", 0, 1, "map", 32, 96)
    assert _packed_width(packed, None) == 32
    assert _packed_width(packed, Site("attn.out", "out", 0, 1, "map", 64, 32)) == 16


def test_every_site_of_one_layer_of_bert():
    model = tiny("bert")
    at = "encoder.layer.1"
    assert {
        name: (site.module, site.kind, site.width_in, site.width_out, site.entry)
        for name, site in _sites(model, 1).items()
    } == {
        "attn.q": (f"{at}.attention.self.query", "map", 32, 32, ""),
        "attn.k": (f"{at}.attention.self.key", "map", 32, 32, ""),
        "attn.v": (f"{at}.attention.self.value", "map", 32, 32, ""),
        "attn.out": (f"{at}.attention.output.dense", "map", 32, 32, ""),
        "ffn.in": (f"{at}.intermediate.dense", "map", 32, 48, ""),
        "ffn.out": (f"{at}.output.dense", "map", 48, 32, ""),
        "attn": (f"{at}.attention.self.query", "attention", 32, 32, f"{at}.attention.self"),
        "ffn": (f"{at}.output.dense", "block", 32, 32, f"{at}.intermediate.dense"),
        "layer": (f"{at}.output.LayerNorm", "norm", 32, 32, ""),
    }
    assert {(site.layer, site.depth) for site in find_sites(model)} == {(0, 2), (1, 2)}
    assert _sites(model)["attn"].heads == 4


def test_sites_below_a_head_have_its_prefix():
    from transformers import AutoModelForSequenceClassification

    model = tiny("llama", AutoModelForSequenceClassification)
    by_name = _sites(model)
    assert by_name["attn.q"].module == "model.layers.0.self_attn.q_proj"
    assert by_name["layer"].kind == "stream"
    assert by_name["layer"].module == "model.layers.0.mlp.down_proj"
    assert (
        by_name["layer"].entry
        == by_name["ffn"].entry
        == ("model.layers.0.post_attention_layernorm")
    )


def test_the_layers_of_the_stacks_that_a_model_has():
    bart = tiny("bart")
    assert first_layers(bart) == list(bart.encoder.layers)
    (encoder, one), (decoder, two) = layer_paths(bart)
    assert (encoder.layers, one) == ("encoder.layers.*", ["encoder.layers.0", "encoder.layers.1"])
    assert (decoder.layers, two) == ("decoder.layers.*", ["decoder.layers.0", "decoder.layers.1"])
    bert = tiny("bert")
    adapt(bert, "lora")
    assert first_layers(bert) == list(bert.encoder.layer)


def test_the_layer_that_runs_last():
    three = tiny("bert", num_hidden_layers=3)
    layer, sites = last_layer_sites(three)
    assert layer is three.encoder.layer[2]
    assert {site.layer for site in sites} == {2}
    assert len(sites) == 9
    assert last_layer_sites(tiny("bart")) == (None, [])  # two stacks
    assert last_layer_sites(tiny("albert", num_hidden_layers=3)) == (None, [])  # one layer, thrice


def test_a_layer_without_a_known_block_behind_its_attention_is_not_cut(monkeypatch):
    from adaptkit.models import find_sites as room

    (stack,) = table_entry(tiny("bert").config)
    maps = {name: path for name, path in stack.maps.items() if name != "ffn.out"}
    without = dataclasses.replace(stack, maps=maps)
    monkeypatch.setattr(room, "table_entry", lambda config: [without])
    assert last_layer_sites(tiny("bert")) == (None, [])


def test_why_sites_are_missing_is_said_once_a_kind(monkeypatch):
    from adaptkit.models import find_sites as room

    assert missing_sites(tiny("bert")) == ""
    (stack,) = table_entry(tiny("bert").config)
    one = dataclasses.replace(stack, missing={"attn": "no interface"})
    two = dataclasses.replace(stack, missing={"attn": "another", "ffn": "no block"})
    monkeypatch.setattr(room, "table_entry", lambda config: [one, two])
    assert missing_sites(tiny("bert")) == (
        f" attn in {stack.layers}: no interface; ffn in {stack.layers}: no block."
    )


def test_a_slip_in_a_table_entry_is_named(monkeypatch):
    from adaptkit.models import find_sites as room

    (stack,) = table_entry(tiny("bert").config)
    wrong = dataclasses.replace(stack, maps=stack.maps | {"ffn.in": "middle.dense"})
    monkeypatch.setattr(room, "table_entry", lambda config: [wrong])
    with pytest.raises(AdaptkitError, match="no module middle.dense in its layers encoder.layer"):
        find_sites(tiny("bert"))
    monkeypatch.setattr(
        room, "table_entry", lambda config: [dataclasses.replace(stack, layers="layers.*")]
    )
    with pytest.raises(AdaptkitError, match=r"BertModel \(bert\) has no layers at layers.\*; call"):
        find_sites(tiny("bert"))
