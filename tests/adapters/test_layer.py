"""The layer around a module of the base: merging, and what it hands on."""

import copy

import pytest
import torch
from torch import nn

from adaptkit import adapt
from adaptkit.adapters.layer import AdaptLayer, Relay
from tests.tiny import first, inputs, randomize, tiny


def _with_two_adapters(name="bert"):
    model = adapt(tiny(name), "lora[r=4,sites=ffn.in]", adapter_name="one")
    adapt(model, "ia3[sites=ffn.in]", adapter_name="two")
    randomize(model)
    model.base_model.set_adapter(["one", "two"])
    return model.eval()


def _layer(model) -> AdaptLayer:
    return next(module for module in model.modules() if isinstance(module, AdaptLayer))


def test_only_the_named_adapters_are_merged():
    model = _with_two_adapters()
    layer, alone = _layer(model), _with_two_adapters()
    before = [layer.base_layer.weight.clone(), layer.base_layer.bias.clone()]
    alone.base_model.set_adapter("one")
    x = torch.randn(2, 3, 32)
    wanted = _layer(alone)(x)
    layer.merge(adapter_names=["one"])
    assert layer.merged_adapters == ["one"]
    assert layer.idle
    torch.testing.assert_close(layer(x), wanted, atol=1e-5, rtol=1e-5)
    kept = layer.weights_before_merging
    assert torch.equal(kept["weight"], before[0])
    assert torch.equal(kept["bias"], before[1])
    layer.unmerge()
    assert layer.merged_adapters == []
    assert layer.weights_before_merging == {}
    assert torch.equal(layer.base_layer.weight, before[0])
    assert torch.equal(layer.base_layer.bias, before[1])
    layer.base_layer.weight.data += 1.0  # what was merged once is not put back a second time
    layer.unmerge()
    assert torch.equal(layer.base_layer.weight, before[0] + 1.0)


def test_a_method_behind_a_norm_and_one_that_it_follows():
    """What the first has added to the norm's output is added again once the norm has run."""
    model = adapt(tiny("bert"), "reft[r=3]+bottleneck[placement=pfeiffer,reduction=4]").eval()
    randomize(model)
    layer = next(module for module in model.modules() if isinstance(module, AdaptLayer))
    reft, bottleneck = (at.method for at in layer.adaptkit_attachments["default"])
    weights = layer.adaptkit_weights["default"]
    p, q = (
        {key.removeprefix(f"{i}_layer_"): w for key, w in weights.items() if key[0] == str(i)}
        for i in (0, 1)
    )
    x = torch.randn(2, 5, 32)
    with torch.no_grad():
        normed = layer.base_layer(x)
        moved = reft.apply(p, normed, normed)
        wanted = layer.base_layer(bottleneck.apply(q, moved, x)) + (moved - normed)
        torch.testing.assert_close(layer(x), wanted)


def test_two_adapters_merged_are_both():
    model = _with_two_adapters()
    apart = first(model(**inputs("bert")))
    _layer(model).merge(adapter_names=["one", "two"])
    torch.testing.assert_close(first(model(**inputs("bert"))), apart, atol=1e-5, rtol=1e-4)


def test_a_map_without_bias_gets_none_from_a_low_rank_change():
    lora = adapt(tiny("llama"), "lora[r=4,sites=ffn.in]")
    randomize(lora)
    layer = _layer(lora)
    layer.merge()
    assert layer.base_layer.bias is None
    layer.unmerge()
    assert layer.base_layer.bias is None


def test_a_merge_that_is_not_finite_is_refused_if_asked():
    model = adapt(tiny("bert"), "lora[r=4,sites=ffn.in]")
    layer = _layer(model)
    with torch.no_grad():
        for weight in layer.adaptkit_weights["default"].values():
            weight.fill_(1e30)
    before = layer.base_layer.weight.clone()
    with pytest.raises(ValueError, match="merging adapter 'default' gives weights that are not"):
        layer.merge(safe_merge=True)
    assert torch.equal(layer.base_layer.weight, before)
    layer.merge()
    assert not layer.base_layer.weight.isfinite().all()
    layer.unmerge()
    assert torch.equal(layer.base_layer.weight, before)


def test_peft_merges_and_unloads_the_named_adapters_checked_if_asked():
    model, alone = _with_two_adapters(), _with_two_adapters()
    alone.base_model.set_adapter("one")
    wanted = first(alone(**inputs("bert")))
    merged = model.merge_and_unload(adapter_names=["one"])
    torch.testing.assert_close(first(merged(**inputs("bert"))), wanted, atol=1e-5, rtol=1e-4)
    bad = _with_two_adapters()
    with torch.no_grad():
        _layer(bad).adaptkit_weights["two"]["0_ffn_in_scale"].fill_(float("inf"))
    with pytest.raises(ValueError, match="merging adapter 'two' gives weights that are not"):
        bad.merge_and_unload(safe_merge=True)


def test_merging_leaves_the_modes_as_they_were():
    model = _with_two_adapters().train()
    layer = _layer(model)
    layer.merge(adapter_names=["two"])
    assert layer.training
    assert layer.active_adapters == ["one", "two"]


def test_a_layer_hands_on_the_attributes_of_its_module():
    layer = _layer(adapt(tiny("bert"), "lora[sites=ffn.in]"))
    assert layer.in_features == 32
    assert layer.out_features == 48
    with pytest.raises(AttributeError, match="nothing_of_the_kind"):
        _ = layer.nothing_of_the_kind
    bare = AdaptLayer.__new__(AdaptLayer)
    nn.Module.__init__(bare)
    with pytest.raises(AttributeError, match="base_layer"):
        _ = bare.base_layer


def test_a_relay_gives_a_tensor_once_and_is_empty_in_a_copy():
    relay, tensor = Relay(), torch.ones(2)
    assert relay.take() is None
    relay.put(tensor)
    assert copy.deepcopy(relay).take() is None
    assert relay.take() is tensor
    assert relay.take() is None
    relay.put_input(nn.Identity(), (tensor, 3))
    assert relay.take() is tensor


def test_what_a_method_keeps_frozen_stays_so_when_its_adapter_is_chosen():
    model = adapt(tiny("bert"), "fusion[adapters=2]")
    model.set_adapter("default")
    weights = _layer(model).adaptkit_weights["default"]
    trained = {name for name, one in weights.items() if one.requires_grad}
    assert trained == {f"0_layer_{name}" for name in ("query", "query_bias", "key", "value")}
