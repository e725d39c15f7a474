"""VeRA is PEFT's layer of that name over our projections, which are the same everywhere."""

import peft
import pytest
import torch
from safetensors.torch import load_file

from adaptkit import adapt, load_adapter, parse_method, save_adapter
from adaptkit.methods.vera import projections
from adaptkit.models.sites import Site
from tests.tiny import first, inputs, randomize, tiny

CPU = torch.device("cpu")
DOWN = [
    "-0x1.5af2440000000p-7",
    "0x1.846d380000000p-1",
    "-0x1.29f9620000000p+0",
    "-0x1.0a703a0000000p+0",
    "-0x1.16e1ac0000000p-1",
    "0x1.8455560000000p-2",
]
UP = [
    "-0x1.1920e00000000p-5",
    "0x1.5f92380000000p+0",
    "-0x1.3acbe20000000p-3",
    "0x1.d552760000000p-2",
]


def test_the_projections_are_these_numbers_on_every_machine():
    """Whole steps of 2^-24 from torch's generator, times sqrt(6 / fan in)."""
    down, up = projections(0, 2, 3, 2, torch.float32, CPU)
    assert [value.hex() for value in down.flatten().tolist()] == DOWN
    assert [value.hex() for value in up.flatten().tolist()] == UP
    half = projections(0, 2, 3, 2, torch.bfloat16, CPU)
    assert torch.equal(half[0], down.bfloat16())
    other = projections(1, 2, 3, 2, torch.float32, CPU)
    assert not torch.equal(other[0], down)


def test_the_projections_are_uniform_and_one_pair_for_each_shape():
    down, up = projections(0, 64, 300, 200, torch.float32, CPU)
    assert (down.shape, up.shape) == ((64, 300), (200, 64))
    for drawn, width in ((down, 300), (up, 64)):
        bound = (6 / width) ** 0.5
        assert 0.99 * bound < drawn.abs().max() <= bound
        assert abs(drawn.std() / bound * 3**0.5 - 1) < 0.02
    with torch.inference_mode():  # a first use there must not make them unfit for training
        assert not projections(7, 4, 8, 8, torch.float32, CPU)[0].is_inference()
    assert projections(0, 64, 300, 200, torch.float32, CPU)[0] is down


@pytest.mark.parametrize(
    ("module", "site"), [("query", "attn.q"), ("intermediate.dense", "ffn.in")]
)
def test_it_is_the_layer_of_peft_with_our_projections(module, site):
    config = peft.VeraConfig(r=6, target_modules=[module])
    theirs = peft.get_peft_model(tiny("bert"), config).eval()
    ours = adapt(tiny("bert"), f"vera[r=6,seed=5,sites={site}]").eval()
    randomize(theirs)
    for path, layer in theirs.base_model.model.named_modules():
        if hasattr(layer, "vera_lambda_d"):
            widths = layer.in_features, layer.out_features
            for place, one in zip(
                (layer.vera_A, layer.vera_B),
                projections(5, 6, *widths, torch.float32, CPU),
                strict=True,
            ):
                place["default"].copy_(one)
            weights = ours.get_base_model().get_submodule(path).adaptkit_weights.default
            for name, weight in weights.items():
                same = layer.vera_lambda_d if name.endswith("_d") else layer.vera_lambda_b
                weight.data.copy_(same["default"])
    batch = inputs("bert")
    with torch.no_grad():
        torch.testing.assert_close(
            first(ours(**batch)), first(theirs(**batch)), atol=1e-5, rtol=1e-5
        )


def test_the_projections_are_neither_counted_nor_saved(tmp_path):
    model = adapt(tiny("bert"), "vera[r=6,sites=attn.q]")
    assert model.get_nb_trainable_parameters()[0] == 2 * (6 + 32)
    weights = [p for name, p in model.named_parameters() if "adaptkit_" in name]
    assert sum(weight.numel() for weight in weights) == 2 * (6 + 32)
    assert {float(weight.detach().max()) for weight in weights if len(weight) == 6} == {
        float(torch.tensor(0.1))
    }
    randomize(model)
    save_adapter(model, tmp_path)
    held = load_file(tmp_path / "adapter_model.safetensors")
    assert {tuple(tensor.shape) for tensor in held.values()} == {(6,), (32,)}
    projections.cache_clear()  # as in another process
    batch = inputs("bert")
    with torch.no_grad():
        again = first(load_adapter(tmp_path, tiny("bert"))(**batch))
        assert torch.equal(again, first(model.eval()(**batch)))


def test_its_pair_of_factors_is_its_change():
    torch.manual_seed(0)
    (method,) = parse_method("vera[r=6]")
    p = {"d": torch.randn(6), "b": torch.randn(5)}
    a, b = method.factors(p, Site("ffn.in", "0", 0, 1, "map", 7, 5))
    x, y = torch.randn(2, 3, 7), torch.randn(2, 3, 5)
    torch.testing.assert_close(method.apply(p, x, y), y + x @ a.T @ b.T)
