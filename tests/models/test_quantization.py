"""Quantized bases with real bitsandbytes: they train, and stay packed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    BitsAndBytesConfig,
)

from adaptkit import AdaptkitError, adapt, load_adapter, load_base, save_adapter
from adaptkit.adapters.card import read_card
from adaptkit.models.quantization import is_packed, keep_unpacked
from adaptkit.models.untrained.scratch import make_model
from tests.helpers.quantizers import check_that_it_trains_saves_and_loads
from tests.tiny import inputs, randomize, tiny

ROOT = Path(__file__).parents[2]
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
        theirs = AutoModelForSequenceClassification.from_pretrained(tmp_path / "packed").eval()
        keep_unpacked(theirs)  # bitsandbytes' faster kernel rounds otherwise
        expected = theirs(**inputs("roberta")).logits
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
    batch = {"input_ids": torch.arange(1000, 1032).view(2, 16), "labels": torch.tensor([0, 0])}

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


TEXTS = ["one two three"] * 40


@pytest.fixture(scope="module")
def decoder(tmp_path_factory):
    return make_model("llama", TEXTS, tmp_path_factory.mktemp("decoder"))[0]


def by_transformers(folder, settings):
    """A base as users of QLoRA load it."""
    return AutoModelForCausalLM.from_pretrained(
        folder, quantization_config=settings, dtype=torch.float32
    )


NF4 = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": torch.float32}
LOADED_OTHERWISE = {
    "nf4": lambda: BitsAndBytesConfig(**NF4),
    "nf4, quantized twice": lambda: BitsAndBytesConfig(**NF4, bnb_4bit_use_double_quant=True),
    "fp4": lambda: BitsAndBytesConfig(**NF4 | {"bnb_4bit_quant_type": "fp4"}),
    "int8": lambda: BitsAndBytesConfig(load_in_8bit=True),
}


@pytest.mark.parametrize("kind", LOADED_OTHERWISE)
def test_a_base_that_transformers_has_quantized_trains_saves_and_loads(kind, decoder, tmp_path):
    settings = LOADED_OTHERWISE[kind]
    check_that_it_trains_saves_and_loads(lambda: by_transformers(decoder, settings()), tmp_path)


@pytest.mark.parametrize("kind", ["nf4", "int8"])
def test_an_adapter_of_another_base_is_refused_over_a_quantized_one(kind, decoder, tmp_path):
    other, _ = make_model("llama", TEXTS, tmp_path / "other", seed=5)
    model = adapt(by_transformers(decoder, LOADED_OTHERWISE[kind]()), "lora")
    save_adapter(model, tmp_path / "a")
    with pytest.raises(AdaptkitError, match="was trained on another base"):
        load_adapter(tmp_path / "a", by_transformers(other, LOADED_OTHERWISE[kind]()))


def test_load_base_takes_settings_of_transformers(folders):
    base = load_base(
        str(folders / "wide"), task="classify", labels=LABELS, quantize=BitsAndBytesConfig(**NF4)
    )
    assert any(map(is_packed, base.parameters()))
    head = [weight for name, weight in base.named_parameters() if name.startswith("score")]
    assert not any(map(is_packed, head))
    with pytest.raises(AdaptkitError, match="unknown quantization 'nf5'.*nf4"):
        load_base(str(folders / "wide"), quantize="nf5")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_base_whose_packing_cannot_be_undone_is_refused(dtype, folders):
    """On a CPU with AVX512, bitsandbytes packs 4-bit weights at the first answer, and rounds."""
    settings = BitsAndBytesConfig(**NF4 | {"bnb_4bit_compute_dtype": dtype})
    base = AutoModelForCausalLM.from_pretrained(
        folders / "wide", quantization_config=settings, dtype=dtype
    )
    with torch.no_grad():
        expected = base.eval()(**inputs("llama")).logits
    state = base.model.layers[0].self_attn.q_proj.weight.quant_state
    if getattr(state, "packing_format_for_cpu", False):
        with pytest.raises(AdaptkitError, match="has answered already.*load it again"):
            adapt(base, "lora")
        return
    with torch.no_grad():
        found = adapt(base, "lora").eval()(**inputs("llama")).logits
    torch.testing.assert_close(found, expected, atol=0, rtol=0)


def test_a_base_of_ours_may_answer_before_it_is_adapted(folders):
    base = load_base(
        str(folders / "wide"), task="LlamaForCausalLM", quantize="nf4", dtype=torch.bfloat16
    )
    batch = inputs("llama")
    with torch.no_grad():
        expected = base.eval()(**batch).logits
        found = adapt(base, "lora", head=[]).eval()(**batch).logits
    torch.testing.assert_close(found, expected, atol=0, rtol=0)


OTHERS = Path(sys.prefix) / "quantizers"  # they print to every command that finds them


@pytest.mark.parametrize("kind", ["torchao", "quanto"])
def test_bases_of_other_quantizers(kind, decoder, tmp_path):
    """In a process that finds them."""
    assert OTHERS.is_dir(), f"make installs torchao and quanto into {OTHERS}"
    paths = [*filter(None, [os.environ.get("PYTHONPATH")]), str(ROOT), str(OTHERS)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.helpers.quantizers", kind, str(decoder), str(tmp_path)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
