"""MiSS is PEFT's layer of that name, for widths that its blocks divide and others."""

import peft
import pytest
import torch

from adaptkit import adapt, parse_method
from adaptkit.models.sites import Site
from tests.tiny import first, inputs, tiny


def layer_of_peft(width_in: int, width_out: int, r: int):
    """PEFT's layer around a linear map, with random weights."""
    model = torch.nn.Sequential(torch.nn.Linear(width_in, width_out))
    config = peft.MissConfig(r=r, target_modules=["0"], init_weights=False)
    return peft.get_peft_model(model, config).base_model.model[0].eval()


@pytest.mark.parametrize(("width_in", "width_out", "r"), [(32, 48, 8), (30, 20, 8), (7, 5, 7)])
def test_it_is_the_layer_of_peft(width_in, width_out, r):
    torch.manual_seed(0)
    layer = layer_of_peft(width_in, width_out, r)
    (method,) = parse_method(f"miss[r={r}]")
    p = {"D": layer.miss_block["default"].detach()}
    x = torch.randn(2, 3, width_in)
    with torch.no_grad():
        y = layer.base_layer(x)
        torch.testing.assert_close(method.apply(p, x, y), layer(x), atol=1e-5, rtol=1e-5)
        a, b = method.factors(p, Site("ffn.in", "0", 0, 1, "map", width_in, width_out))
        assert (a.shape, b.shape) == ((r, width_in), (width_out, r))
        before = layer.base_layer.weight.clone()
        layer.merge()
        torch.testing.assert_close(b @ a, layer.base_layer.weight - before, atol=1e-5, rtol=1e-5)


def test_a_model_of_peft_with_the_same_blocks_says_the_same():
    torch.manual_seed(0)
    config = peft.MissConfig(r=5, target_modules=["query", "value"], init_weights=False)
    theirs = peft.get_peft_model(tiny("bert"), config).eval()
    ours = adapt(tiny("bert"), "miss[r=5,sites=attn.q|attn.v]").eval()
    for path, module in theirs.base_model.model.named_modules():
        if hasattr(module, "miss_block"):
            (weight,) = ours.get_base_model().get_submodule(path).adaptkit_weights.default.values()
            weight.data.copy_(module.miss_block["default"])
    batch = inputs("bert")
    with torch.no_grad():
        torch.testing.assert_close(
            first(ours(**batch)), first(theirs(**batch)), atol=1e-5, rtol=1e-5
        )
        assert (first(ours(**batch)) - first(tiny("bert")(**batch))).abs().max() > 0.1


def test_dropout_is_for_training_alone():
    torch.manual_seed(0)
    (method,) = parse_method("miss[r=4000,dropout=0.5]")
    p, x, y = {"D": torch.eye(4000)}, torch.ones(1, 1, 8000), torch.zeros(1, 1, 4000)
    assert method.apply(p, x, y).eq(2).all()  # two blocks of ones
    assert set(method.apply(p, x, y, training=True).flatten().tolist()) == {0.0, 2.0, 4.0}
