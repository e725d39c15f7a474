"""LoRA is PEFT's LoRA, and its scale."""

import peft
import pytest
import torch

from adaptkit import adapt, parse_method
from tests.tiny import first, inputs, randomize, tiny


@pytest.mark.parametrize(
    "name, targets",
    [
        ("bert", ["query", "value"]),
        ("llama", ["q_proj", "v_proj", "down_proj"]),
        ("t5", ["q", "v"]),
    ],
)
@pytest.mark.parametrize("rslora", [False, True])
def test_lora_is_pefts_lora(name, targets, rslora):
    """Outputs and gradients, with alpha != r and B not zero; in fp64, so that only the formula can
    make a difference.
    """
    sites = {
        "bert": "attn.q|attn.v",
        "llama": "attn.q|attn.v|ffn.out",
        "t5": "attn.q|attn.v|cross.q|cross.v",
    }[name]
    ours = adapt(tiny(name), f"lora[r=4,alpha=6,rslora={str(rslora).lower()},sites={sites}]")
    theirs = peft.get_peft_model(
        tiny(name), peft.LoraConfig(r=4, lora_alpha=6, use_rslora=rslora, target_modules=targets)
    )
    pairs = _pairs(ours, theirs)
    for mine, other in pairs:
        mine.data.normal_(std=0.2)
        other.data.copy_(mine.data)
    outputs = [first(model.double().eval()(**inputs(name))) for model in (ours, theirs)]
    torch.testing.assert_close(*outputs, atol=1e-6, rtol=1e-6)
    for output in outputs:
        output.square().mean().backward()
    for mine, other in pairs:
        torch.testing.assert_close(mine.grad, other.grad, atol=1e-6, rtol=1e-5)


def test_dropout_is_for_training_alone_and_keeps_the_mean():
    """Without B nothing is added, so B is not zero; 4,000 draws in one batch."""
    weights = {"A": torch.tensor([[1.0, 2.0]]), "B": torch.tensor([[3.0]])}
    x, y = torch.ones(4000, 1, 2), torch.zeros(4000, 1, 1)
    (method,) = parse_method("lora[r=1,alpha=1,dropout=0.5]")
    whole = torch.full_like(y, 9.0)
    assert torch.equal(method.apply(weights, x, y), whole)
    assert torch.equal(method.apply(weights, x, y, training=False), whole)
    drawn = method.apply(weights, x, y, training=True)
    assert set(drawn.flatten().tolist()) == {0.0, 6.0, 12.0, 18.0}  # of 1 and 2, doubled, times 3
    assert drawn.mean().item() == pytest.approx(9, abs=0.5)


def test_a_model_drops_in_training_and_not_in_evaluation():
    model = adapt(tiny("bert"), "lora[r=4,dropout=0.5]")
    randomize(model)
    for module in model.modules():  # the base has dropout of its own
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    model.eval()
    plain = first(model(**inputs("bert")))
    assert torch.equal(first(model(**inputs("bert"))), plain)
    model.train()
    assert not torch.allclose(first(model(**inputs("bert"))), plain, atol=1e-3)


def _pairs(ours, theirs):
    pairs = []
    for path, module in theirs.get_base_model().named_modules():
        if hasattr(module, "lora_A"):
            weights = ours.get_base_model().get_submodule(path).adaptkit_weights["default"]
            mine = {key[-1]: value for key, value in weights.items()}
            pairs += [
                (mine["A"], module.lora_A["default"].weight),
                (mine["B"], module.lora_B["default"].weight),
            ]
    assert pairs
    return pairs


def test_with_rslora_the_default_scale_falls_with_the_root_of_the_rank():
    scales = [parse_method(f"lora[r={r},rslora=true]")[0].scale for r in (4, 16, 64)]
    assert scales == [4, 2, 1]
