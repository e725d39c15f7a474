"""Models that are not in the table: what is found, and what is said where nothing is clear."""

import pytest
from torch import nn

from adaptkit import AdaptkitError, adapt, find_sites
from tests.helpers.architectures import small_model
from tests.tiny import tiny


@pytest.mark.parametrize("name", ["bert", "llama", "vit", "opt", "distilbert"])
def test_discovery_finds_what_the_table_says(name, monkeypatch):
    wanted = {
        (s.name, s.module, s.layer)
        for s in find_sites(tiny(name))
        if s.kind in ("map", "attention")
    }
    monkeypatch.setattr("adaptkit.models.find_sites.table_entry", lambda config: None)
    assert {(s.name, s.module, s.layer) for s in find_sites(tiny(name))} == wanted


def test_an_unclear_structure_is_an_error_that_shows_the_entry_to_write():
    with pytest.raises(AdaptkitError) as error:
        adapt(
            small_model("minicpm3"), "lora"
        )  # its queries come out of two maps, one after another
    assert "layers.0" in str(error.value)
    assert "self_attn.q_a_proj: 32 -> 768" in str(error.value)
    assert "register_architecture('minicpm3'" in str(error.value)
    assert len(str(error.value).splitlines()) < 30


def test_one_map_for_queries_keys_and_values_is_a_site_of_its_own(monkeypatch):
    monkeypatch.setattr("adaptkit.models.find_sites.table_entry", lambda config: None)
    model = tiny("gpt2")
    names = {"attn.qkv", "attn.out", "attn", "ffn.in", "ffn.out"}
    assert {site.name for site in find_sites(model)} == names
    with pytest.raises(AdaptkitError, match=r"no attn.k, attn.v.*one map, attn.c_attn"):
        adapt(model, "ia3")
    adapt(model, "lora+prefix[length=2]")


def test_gate_and_input_in_one_map_are_a_site_of_their_own():
    """A factor on both would also scale what goes into the activation."""
    model = small_model("glm4")
    assert {"ffn.gate_in", "ffn.out"} < {site.name for site in find_sites(model)}
    with pytest.raises(AdaptkitError, match=r"no ffn.in\..*mlp.gate_up_proj"):
        adapt(model, "ia3")
    adapt(model, "ia3[sites=attn.k|attn.v]")


def test_experts_in_one_tensor_leave_the_attention():
    model = small_model("mixtral")
    names = {"attn.q", "attn.k", "attn.v", "attn.out", "attn"}
    assert {site.name for site in find_sites(model)} == names
    for method in ("bottleneck", "lora[sites=ffn.in]", "ia3"):
        with pytest.raises(AdaptkitError) as error:
            adapt(model, method)
        assert "attn.k, attn.out, attn.q, attn.v" in str(error.value)
        assert "all experts are one tensor, mlp.experts.gate_up_proj" in str(error.value)
    adapt(model, "lora[sites=attn.q|attn.v]")


def test_maps_that_are_never_called_are_no_sites():
    """WavLM hands their weights to torch, so what is put around them would do nothing."""
    model = small_model("wavlm")
    assert {site.name for site in find_sites(model)} == {"ffn.in", "ffn.out"}
    with pytest.raises(AdaptkitError, match=r"its maps are never called"):
        adapt(model, "ia3")


def test_layers_of_one_list_may_differ():
    """The first layer is dense, the second has experts; or the first has no attention."""
    experts, mixed = find_sites(small_model("glm4_moe")), find_sites(small_model("qwen3_5_text"))
    assert {site.layer for site in experts if site.name.startswith("attn")} == {0, 1}
    assert {site.layer for site in experts if site.name.startswith("ffn")} == {0}
    assert {site.layer for site in mixed if site.name.startswith("attn")} == {1}
    assert {site.layer for site in mixed if site.name.startswith("ffn")} == {0, 1}


def test_an_image_text_model_is_adapted_in_its_language_model_as_the_table_says():
    sites = find_sites(small_model("llava"))
    assert all(site.module.startswith("language_model.layers.") for site in sites)
    alone = [(site.name, site.layer) for site in find_sites(tiny("llama"))]
    assert [(site.name, site.layer) for site in sites] == alone


def test_two_towers_are_both_adapted():
    sites = find_sites(small_model("clip"))
    towers = {site.module.partition(".")[0] for site in sites}
    assert towers == {"text_model", "vision_model"}
    assert {site.heads for site in sites if site.name == "attn"} == {4}


def test_an_encoder_and_a_decoder_keep_their_attentions_apart():
    sites = find_sites(small_model("blenderbot"))
    cross = [site.module for site in sites if site.name == "cross.q"]
    assert cross == [f"decoder.layers.{i}.encoder_attn.q_proj" for i in range(2)]


def test_a_model_without_layers_is_refused():
    class Config:
        model_type = "mystery"

    class Model(nn.Module):
        config = Config()

        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(2, 2)

    with pytest.raises(AdaptkitError, match="No list of layers with an attention"):
        find_sites(Model())
