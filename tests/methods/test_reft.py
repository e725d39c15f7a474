"""LoReFT changes hidden states within a subspace whose directions stay orthonormal."""

import pytest
import torch
from torch.nn.utils.parametrizations import orthogonal

from adaptkit import adapt, parse_method
from adaptkit.methods.reft import orthonormal_rows
from tests.tiny import inputs, randomize, tiny


def drawn(r: int, width: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return {"R": torch.randn(r, width), "V": torch.randn(r, width), "b": torch.randn(r)}


def test_it_is_the_formula_of_the_paper():
    """Over torch's own orthogonal map, with a source that is learned apart from it."""
    torch.manual_seed(0)
    rotate = orthogonal(torch.nn.Linear(16, 3, bias=False))
    source = torch.nn.Linear(16, 3)
    h = torch.randn(2, 5, 16)
    with torch.no_grad():
        wanted = h + (source(h) - rotate(h)) @ rotate.weight
        p = {"R": rotate.weight, "V": source.weight - rotate.weight, "b": source.bias}
        torch.testing.assert_close(parse_method("reft[r=3]")[0].apply(p, h, h), wanted)


def test_in_its_directions_h_is_the_source_and_in_all_others_itself():
    p, h = drawn(3, 16), torch.randn(2, 5, 16)
    directions = orthonormal_rows(p["R"])
    changed = parse_method("reft[r=3]")[0].apply(p, h, h)
    source = h @ (p["V"] + directions).T + p["b"]
    torch.testing.assert_close(changed @ directions.T, source, atol=1e-5, rtol=1e-5)
    others = torch.eye(16) - directions.T @ directions
    torch.testing.assert_close(changed @ others, h @ others, atol=1e-5, rtol=1e-5)
    free = parse_method("reft[r=3,orthonormal=false]")[0].apply(p, h, h)
    torch.testing.assert_close(free, h + (h @ p["V"].T + p["b"]) @ p["R"])


def test_rows_are_made_orthonormal_from_above_and_orthonormal_ones_stay():
    rows = orthonormal_rows(drawn(4, 9)["R"])
    torch.testing.assert_close(rows @ rows.T, torch.eye(4))
    torch.testing.assert_close(orthonormal_rows(rows), rows)
    first = drawn(4, 9)["R"][0]
    torch.testing.assert_close(rows[0], first / first.norm())
    many = orthonormal_rows(torch.stack([rows, -rows]))
    torch.testing.assert_close(many, torch.stack([rows, -rows]))
    half = orthonormal_rows(rows.bfloat16())
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), rows, atol=0.02, rtol=0)


def test_directions_stay_orthonormal_in_training_and_all_of_it_trains():
    model = adapt(tiny("bert"), "reft[r=3]").train()
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    before = {name: p.detach().clone() for name, p in trained.items()}
    optimizer = torch.optim.AdamW(trained.values(), lr=0.05, weight_decay=0.1)
    losses = []
    for _ in range(8):
        loss = (model(**inputs("bert"))[0] - 1).square().mean()
        loss.backward()
        losses.append(float(loss.detach()))
        if len(losses) == 1:  # at the start, which changes nothing, V and b have gradients
            moving = {name[-1] for name, p in trained.items() if p.grad.abs().max() > 1e-6}
            assert moving == {"V", "b"}
        optimizer.step()
        optimizer.zero_grad()
    assert losses[-1] < 0.8 * losses[0]
    assert not [name for name, p in trained.items() if torch.equal(p, before[name])]
    for name, weight in trained.items():
        if name.endswith("R"):
            rows = orthonormal_rows(weight)
            torch.testing.assert_close(rows @ rows.T, torch.eye(3), atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", ["bert", "llama", "gpt2"])
def test_it_changes_what_leaves_a_layer_behind_the_norm(name):
    model = adapt(tiny(name), "reft[r=3,layers=0]").eval()
    randomize(model)
    (method,) = parse_method("reft[r=3]")
    weights = {key[-1]: p for key, p in model.named_parameters() if p.requires_grad}
    batch = inputs(name)
    with torch.no_grad():
        before = tiny(name)(**batch, output_hidden_states=True).hidden_states[1]
        after = model(**batch, output_hidden_states=True).hidden_states[1]
        torch.testing.assert_close(
            after, method.apply(weights, before, before), atol=1e-5, rtol=1e-5
        )


def test_it_reads_the_output_of_a_map():
    model = adapt(tiny("gpt2"), "reft[r=3,sites=attn.q]").eval()  # q is a part of c_attn
    randomize(model)
    layer = model.get_base_model().h[0].attn.c_attn
    (method,) = parse_method("reft[r=3]")
    weights = {key[-1]: p for key, p in layer.adaptkit_weights["default"].items()}
    x = torch.randn(2, 5, 32)
    with torch.no_grad():
        base, changed = layer.base_layer(x), layer(x)
        queries = base[..., :32]
        torch.testing.assert_close(changed[..., :32], method.apply(weights, queries, queries))
        assert torch.equal(changed[..., 32:], base[..., 32:])
