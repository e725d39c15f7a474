"""Precisions change no result: what is halved, what is cast, and what comes back to the bit."""

import copy

import pytest
import torch

from adaptkit import Predictor, adapt, load_base
from adaptkit.models.backbone import backbone_of
from adaptkit.training.precision import NotAutocast, Precision
from adaptkit.training.zero_grad import quick_zero_grad
from tests.tiny import inputs, randomize, tiny


@pytest.mark.parametrize("name", ["bert", "llama", "t5", "m2m_100"])
def test_a_frozen_base_is_halved_and_comes_back_to_the_bit(name):
    model = adapt(tiny(name), "lora[r=2]", head=[])
    randomize(model)
    before = {key: parameter.clone() for key, parameter in model.named_parameters()}
    buffers = {key: buffer.clone() for key, buffer in model.named_buffers()}
    with Precision(torch.bfloat16).of(model):
        for parameter in model.parameters():
            assert parameter.dtype == (torch.float32 if parameter.requires_grad else torch.bfloat16)
            if parameter.requires_grad:
                parameter.data += 1.0
    for key, parameter in model.named_parameters():
        assert torch.equal(
            parameter, before[key] + 1.0 if parameter.requires_grad else before[key]
        ), key
    for key, buffer in model.named_buffers():
        assert torch.equal(buffer, buffers[key]), key


@pytest.mark.parametrize("name", ["bert", "llama", "t5", "modernbert", "m2m_100", "gpt2"])
@pytest.mark.parametrize("method", ["lora", "bottleneck", "prefix[length=3]", "unipelt"])
def test_a_backbone_in_bf16_is_not_autocast_inside(name, method):
    """It gives bf16 from bf16; fp32 weights outside of it are still cast, and gradients reach all
    that trains.
    """
    model = adapt(tiny(name), method, head=[])
    randomize(model, std=0.05)
    batch, seen = inputs(name, rows=2), []
    expected = model(**batch)[0]
    for layer in model.modules():
        if type(layer).__name__.endswith("Norm"):
            layer.register_forward_hook(lambda *_: seen.append(torch.is_autocast_enabled("cpu")))
    with Precision(torch.bfloat16).of(model), torch.autocast("cpu", torch.bfloat16):
        found = model(**batch)[0]
        assert torch.is_autocast_enabled("cpu")
        found.float().square().mean().backward()
    assert seen
    assert not any(seen)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), expected, rtol=0.1, atol=0.1)
    assert all(
        p.grad is not None and p.grad.dtype == torch.float32
        for p in model.parameters()
        if p.requires_grad
    )
    assert "forward" not in vars(backbone_of(model.get_base_model())[0])


@pytest.mark.parametrize("method", ["peft:LoRA[r=2]", "peft:LoHa[r=2]"])
def test_a_backbone_that_holds_fp32_is_autocast(method):
    model = adapt(tiny("bert"), method, head=[])
    with Precision(torch.bfloat16).of(model):
        assert "forward" not in vars(backbone_of(model.get_base_model())[0])


def test_inside_nothing_is_cast_but_what_comes_in():
    model = adapt(tiny("bert"), "lora", head=[])
    embedded = torch.randn(2, 5, 32)
    for precision in (
        Precision(torch.bfloat16, copied=True),
        Precision(torch.float16),
        Precision(torch.bfloat16, half_base=False),
    ):
        with precision.of(model):
            assert "forward" not in vars(model.get_base_model())
    with Precision(torch.bfloat16).of(model):
        assert isinstance(vars(model.get_base_model())["forward"], NotAutocast)
        assert model(inputs_embeds=embedded)[0].dtype == torch.bfloat16  # without autocast outside


def test_a_copy_of_a_model_that_trains_is_a_copy():
    """As averages of weights take them."""
    model = adapt(tiny("bert"), "lora", head=[])
    batch = inputs("bert", rows=2)
    with Precision(torch.bfloat16).of(model), quick_zero_grad(model):
        copied = copy.deepcopy(model)
        for parameter in copied.parameters():
            parameter.data.zero_()
        assert not copied(**batch)[0].any()
        assert model(**batch)[0].any()
        copied(**batch)[0].sum().backward()
        copied.zero_grad()
        assert all(parameter.grad is None for parameter in copied.parameters())


def test_what_is_asked_to_stay_stays():
    model = adapt(tiny("bert").to(torch.bfloat16), "lora[r=2]", head=[])
    for parameter in model.parameters():
        parameter.data = parameter.data.bfloat16()
    with Precision(torch.float16).of(model):
        assert {p.dtype for p in model.parameters() if p.requires_grad} == {torch.float32}
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    for precision in (
        Precision(None),
        Precision(torch.bfloat16, half_base=False),
        Precision(torch.float16),
    ):
        model = adapt(tiny("bert"), "lora[r=2]", head=[])
        with precision.of(model):
            assert {p.dtype for p in model.parameters()} == {torch.float32}


@pytest.mark.parametrize("quantize", ["int8", "nf4"])
def test_quantized_weights_are_left_alone(quantize):
    base = load_base("all-MiniLM-L6-v2", task="classify", labels=2, quantize=quantize)
    packed = {key: p.dtype for key, p in base.named_parameters() if not p.is_floating_point()}
    assert packed
    with Precision(torch.bfloat16).of(adapt(base, "lora[r=2]")) as _:
        assert {
            key.replace(".base_layer", ""): p.dtype
            for key, p in base.named_parameters()
            if not p.is_floating_point()
        } == packed


def test_a_base_in_half_precision_trains_its_head_and_answers(tmp_path):
    from adaptkit.recipes import classify

    rows = "".join(f"word {i},{'ab'[i % 2]}\n" for i in range(12))
    (tmp_path / "a.csv").write_text("text,label\n" + rows)
    flags = [
        "--train_file",
        str(tmp_path / "a.csv"),
        "--output_dir",
        str(tmp_path / "out"),
        "--dtype",
        "bfloat16",
        "--max_steps",
        "2",
    ]
    classify.main([*flags, "--disable_tqdm", "true", "--train_sampling_strategy", "random"])
    said = (tmp_path / "out/predictions_validation.tsv").read_text().splitlines()[1].split("\t")
    answer = Predictor(tmp_path / "out", dtype="bfloat16")(said[0])[0]
    assert (answer["label"], answer["score"]) == (said[2], pytest.approx(float(said[3]), abs=0.01))
