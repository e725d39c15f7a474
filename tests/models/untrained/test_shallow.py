"""Networks with fewer layers, made of deeper ones."""

import pytest
import torch
from transformers import AutoConfig, AutoModel

from adaptkit import AdaptkitError
from adaptkit.models.untrained.shallow import depths_of, fresh
from adaptkit.transfer.mix import mix
from adaptkit.utils.overrides import overrides
from tests.helpers.parameters import weights
from tests.tiny import tiny


def test_a_network_that_could_not_run_is_refused():
    for heads in (2, 3):  # with 2 heads of keys and values
        with pytest.raises(AdaptkitError, match="no llama that works can be made"):
            fresh(
                tiny("llama", num_attention_heads=4, num_key_value_heads=4),
                1,
                settings={"num_attention_heads": heads},
            )
    with pytest.raises(AdaptkitError, match="n_layer is no setting"):
        fresh(tiny("gpt2"), 1, settings={"n_layer": 2})
    assert (
        fresh(
            tiny("bert"), 1, settings={"layer_norm_eps": overrides("a=1e-6")["a"]}
        ).config.layer_norm_eps
        == 1e-6
    )


@pytest.mark.parametrize("name", ["t5", "mt5", "bart", "marian"])
def test_both_stacks_of_an_encoder_and_a_decoder_are_made_and_mixed(name):
    """Also what the first layer holds for its whole stack: T5's biases of positions."""
    source = tiny(name, seed=2)
    deep = depths_of(source.config)
    target = fresh(source, deep[0], "last", decoder_layers=1)
    assert depths_of(target.config) == [deep[0], 1]
    assert mix(target, source, 1.0, "last").left == []
    mine, theirs = dict(target.named_parameters()), dict(source.named_parameters())
    for parameter, value in mine.items():
        last = parameter.replace("decoder.block.0", f"decoder.block.{deep[1] - 1}").replace(
            "decoder.layers.0", f"decoder.layers.{deep[1] - 1}"
        )
        assert torch.equal(
            value, theirs[parameter if "relative_attention_bias" in parameter else last]
        ), parameter


def test_networks_whose_depth_cannot_be_changed_are_refused():
    sizes = {
        "d_model": 32,
        "encoder_ffn_dim": 64,
        "decoder_ffn_dim": 64,
        "vocab_size": 50,
        "encoder_layers": 2,
        "decoder_layers": 2,
    }
    config = AutoConfig.for_model(
        "led", **sizes, attention_window=4, encoder_attention_heads=4, decoder_attention_heads=4
    )
    with pytest.raises(
        AdaptkitError, match="a led cannot be made with 1 layers: .*attention_window"
    ):
        fresh(AutoModel.from_config(config), 1)


def test_a_decoder_does_not_grow_by_itself():
    sizes = {
        "d_model": 32,
        "encoder_ffn_dim": 64,
        "decoder_ffn_dim": 64,
        "encoder_attention_heads": 4,
        "decoder_attention_heads": 4,
    }
    config = AutoConfig.for_model(
        "bart", **sizes, vocab_size=50, encoder_layers=4, decoder_layers=1
    )
    assert depths_of(fresh(AutoModel.from_config(config), 2).config) == [2, 1]


def test_what_only_a_later_layer_has_is_not_taken_for_the_stacks():
    """ModernBERT's first layer has no norm before its attention."""
    shallow, deep = tiny("modernbert", seed=1), tiny("modernbert", seed=2)
    assert len([name for name in weights(shallow) if name.endswith("attn_norm.weight")]) == 1
    target = fresh(deep, 4)
    with pytest.raises(AdaptkitError, match="attn_norm"):
        mix(target, shallow, 1.0)


def test_layers_keep_their_kind_when_they_move():
    source = tiny(
        "gemma3", num_hidden_layers=4, layer_types=["sliding_attention", "full_attention"] * 2
    )
    target = fresh(source, 2)
    assert target.config.layer_types == ["full_attention", "full_attention"]
    modern, other = (tiny("modernbert", seed=seed, num_hidden_layers=3) for seed in (1, 2))
    mix(modern, other, 1.0)
    for layer in range(3):
        assert torch.equal(
            modern.layers[layer].mlp_norm.weight, other.layers[layer].mlp_norm.weight
        )
