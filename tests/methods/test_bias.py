"""Learned biases are the base's own, moved; those of keys count with rotary positions alone."""

import pytest
import torch

from adaptkit import adapt
from adaptkit.adapters.layer import AdaptLayer
from tests.tiny import first, inputs, randomize, tiny


def test_it_is_the_base_with_other_biases():
    model, moved = adapt(tiny("bert"), "bias").eval(), tiny("bert")
    randomize(model)
    layers = {
        path: module
        for path, module in model.get_base_model().named_modules()
        if isinstance(module, AdaptLayer)
    }
    assert len(layers) == 2 * 5  # q, v, out, in, out
    with torch.no_grad():
        for path, layer in layers.items():
            (by,) = layer.adaptkit_weights["default"].values()
            moved.get_submodule(path).bias += by
        batch = inputs("bert")
        torch.testing.assert_close(
            first(model(**batch)), first(moved(**batch)), atol=1e-5, rtol=1e-5
        )


@pytest.mark.parametrize(("name", "counts"), [("bert", False), ("llama", True)])
def test_what_every_key_gets_is_taken_out_by_softmax(name, counts):
    model = adapt(tiny(name), "bias[sites=attn.k]").eval()
    randomize(model, std=1.0)
    batch = inputs(name)
    with torch.no_grad():
        far = (first(model(**batch)) - first(tiny(name)(**batch))).abs().max()
    assert (far > 1e-3) if counts else (far < 1e-5)


@pytest.mark.parametrize(("name", "more"), [("bert", ""), ("llama", ""), ("bart", "|cross.*")])
def test_keys_are_taken_in_by_sites(name, more):
    own = "attn.*|ffn.*" + more
    model = adapt(tiny(name), f"bias[sites={own}]", head=[])
    count = sum(isinstance(module, AdaptLayer) for module in model.modules())
    plain = adapt(tiny(name), "bias", head=[])
    without = sum(isinstance(module, AdaptLayer) for module in plain.modules())
    assert count - without == {"bert": 2, "llama": 2, "bart": 6}[name]
