"""Quantized bases with real bitsandbytes: they train, and stay packed."""

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from adaptkit import AdaptkitError, adapt, load_adapter, load_base, save_adapter
from adaptkit.adapters.card import read_card
from tests.tiny import inputs, randomize, tiny

LABELS = ["down", "level", "up"]


@pytest.mark.parametrize("quantize", ["int8", "nf4"])
@pytest.mark.parametrize("method", ["lora[r=4]", "bottleneck[reduction=4]+prefix[length=3]", "ia3"])
def test_quantized_bases_train_and_answer(quantize, method, folders, tmp_path):
    """Real bitsandbytes: the loss goes down, the base stays packed, the adapter goes to a
    full-precision base and back.
    """
    base = load_base(str(folders / "wide"), task="classify", labels=LABELS, quantize=quantize)
    packed = {
        key: p.detach().clone()
        for key, p in base.named_parameters()
        if not p.dtype.is_floating_point
    }
    assert packed
    model = adapt(base, method).train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    batch = inputs("llama") | {"labels": torch.tensor([0, 1, 2])}
    losses = []
    for _ in range(12):
        loss = model(**batch).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.2
    after = {
        key.replace(".base_layer", "").removeprefix("base_model.model."): p
        for key, p in model.named_parameters()
    }
    assert all(torch.equal(after[key], value) for key, value in packed.items())
    save_adapter(model, tmp_path / "a")
    with torch.no_grad():
        expected = model.eval()(**batch).logits
        again = load_adapter(tmp_path / "a", quantize=quantize)
        torch.testing.assert_close(again(**batch).logits, expected, atol=1e-3, rtol=1e-3)
        assert read_card(tmp_path / "a").quantize == quantize
        torch.testing.assert_close(
            load_adapter(tmp_path / "a")(**batch).logits, expected, atol=1e-3, rtol=1e-3
        )
        whole = load_adapter(tmp_path / "a", quantize="none")
        assert {parameter.dtype for parameter in whole.parameters()} == {torch.float32}
        assert not torch.equal(whole(**batch).logits, expected)
    if method != "bottleneck[reduction=4]+prefix[length=3]":
        with pytest.raises(AdaptkitError, match="is quantized"):
            model.merge_and_unload()


@pytest.mark.parametrize("quantize", ["int8", "nf4"])
def test_a_quantized_head_that_is_trained_already_is_loaded_as_it_is_stored(quantize, tmp_path):
    tiny(
        "roberta",
        AutoModelForSequenceClassification,
        hidden_size=64,
        intermediate_size=128,
        num_labels=64,
    ).save_pretrained(tmp_path)
    load_base(str(tmp_path), task="classify", labels=64, quantize=quantize).save_pretrained(
        tmp_path / "packed"
    )
    packed = load_base(str(tmp_path / "packed"), task="classify", labels=64).eval()
    assert packed.adaptkit_base.head == ()
    assert not packed.classifier.dense.weight.dtype.is_floating_point
    with torch.no_grad():
        expected = (
            AutoModelForSequenceClassification.from_pretrained(tmp_path / "packed")
            .eval()(**inputs("roberta"))
            .logits
        )
        torch.testing.assert_close(
            packed(**inputs("roberta")).logits, expected, atol=1e-5, rtol=1e-4
        )


@pytest.mark.parametrize("quantize", ["int8", "nf4"])
@pytest.mark.parametrize("name, kind", [("wide", "llama"), ("wide-bert", "bert")])
def test_a_checkpoint_that_is_stored_quantized_gets_a_head_that_trains(
    quantize, name, kind, folders, tmp_path
):
    """What bitsandbytes has packed stays packed; the new head is whole, gets gradients, and comes
    back with the adapter.
    """
    load_base(str(folders / name), quantize=quantize).save_pretrained(tmp_path / "packed")
    base = load_base(str(tmp_path / "packed"), task="classify", labels=LABELS)
    assert {type(module).__name__ for module in base.modules()} & {"Linear4bit", "Linear8bitLt"}
    assert len(base.adaptkit_base.head) == 1
    model = adapt(base, "lora[r=4]")
    randomize(model)
    batch = inputs(kind)
    model(**batch, labels=torch.tensor([0, 1, 2])).loss.backward()
    head = [parameter for key, parameter in model.named_parameters() if "modules_to_save" in key]
    assert head
    assert all(
        parameter.dtype.is_floating_point and parameter.grad.abs().sum() > 0 for parameter in head
    )
    save_adapter(model, tmp_path / "a")
    with torch.no_grad():
        expected = model.eval()(**batch).logits
        torch.testing.assert_close(
            load_adapter(tmp_path / "a")(**batch).logits, expected, atol=1e-3, rtol=1e-3
        )


@pytest.mark.parametrize("quantize", ["int8", "nf4"])
@pytest.mark.parametrize("method", ["lora[r=4]", "bottleneck", "prefix[length=4]", "ia3"])
def test_checkpointing_over_a_quantized_base_gives_the_same_gradients(quantize, method):
    grads = []
    batch = {"input_ids": torch.arange(1000, 1024).view(2, 12), "labels": torch.tensor([0, 1])}
    for checkpointing in (False, True):
        model = adapt(
            load_base("all-MiniLM-L6-v2", task="classify", labels=2, quantize=quantize), method
        ).train()
        randomize(model, std=0.05)
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        if checkpointing:
            model.get_base_model().gradient_checkpointing_enable({"use_reentrant": False})
        model(**batch).loss.backward()
        grads.append({key: p.grad for key, p in model.named_parameters() if p.requires_grad})
    assert all(grad is not None and grad.any() for grad in grads[0].values())
    for key, grad in grads[0].items():
        torch.testing.assert_close(grads[1][key], grad, atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("quantize", ["int8", "nf4"])
@pytest.mark.parametrize("before", [False, True])
def test_gradients_pass_a_quantized_base_after_an_evaluation(quantize, before):
    """bitsandbytes packs 4-bit weights for evaluation on some CPUs, and the packed ones give no
    gradients.
    """
    base = load_base(
        "all-MiniLM-L6-v2", task="classify", labels=2, quantize=quantize, dtype=torch.bfloat16
    )
    batch = {"input_ids": torch.arange(1000, 1032).view(2, 16), "labels": torch.tensor([0, 1])}

    def evaluate(model):
        with torch.no_grad():
            return model.eval()(**batch).logits

    if before:
        evaluate(base)
    model = adapt(base, "lora[r=4]")
    randomize(model, std=0.05)
    grads = []
    for _ in range(2):
        model.zero_grad()
        model.eval()(**batch).loss.backward()
        grads.append(
            {key: p.grad.clone() for key, p in model.named_parameters() if p.requires_grad}
        )
        evaluate(model)
    assert all(grad.any() for grad in grads[0].values())
    for key, grad in grads[0].items():
        assert torch.equal(grads[1][key], grad), key
