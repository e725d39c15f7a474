"""Loading bases: heads that are found, fingerprints, quantization with real bitsandbytes, names
that are wrong.
"""

import pytest
import torch
from transformers import AutoModelForSequenceClassification, BartForSequenceClassification

from adaptkit import (
    AdaptkitError,
    adapt,
    fingerprint,
    load_adapter,
    load_base,
    load_tokenizer,
    same_base,
    save_adapter,
)
from adaptkit.adapters.card import read_card
from tests.tiny import first, inputs, randomize, tiny

LABELS = ["down", "level", "up"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Checkpoints of bare backbones, as they are published."""
    root = tmp_path_factory.mktemp("bases")
    for name in (
        "bert",
        "roberta",
        "distilbert",
        "deberta-v2",
        "modernbert",
        "gpt2",
        "llama",
        "t5",
        "bart",
        "vit",
    ):
        tiny(name).save_pretrained(root / name)
    tiny("llama", hidden_size=64, intermediate_size=128).save_pretrained(
        root / "wide"
    )  # 4-bit blocks hold 64 weights
    tiny("bert", hidden_size=64, intermediate_size=128).save_pretrained(root / "wide-bert")
    return root


@pytest.mark.parametrize(
    "name, head",
    [
        ("bert", ["classifier"]),
        ("roberta", ["classifier"]),
        ("distilbert", ["classifier", "pre_classifier"]),
        ("deberta-v2", ["classifier", "pooler"]),
        ("modernbert", ["classifier", "head"]),
        ("gpt2", ["score"]),
        ("llama", ["score"]),
        ("t5", ["classification_head"]),
        ("bart", ["classification_head"]),
    ],
)
def test_every_new_parameter_is_the_head_and_is_trained_saved_and_restored(
    name, head, folders, tmp_path
):
    base = load_base(str(folders / name), task="classify", labels=LABELS)
    assert sorted(base.adaptkit_base.head) == head
    assert base.config.label2id == {"down": 0, "level": 1, "up": 2}
    assert not any(p.requires_grad for p in base.parameters())
    model = adapt(base, "lora[r=2]")
    randomize(model)
    assert {
        key.partition(".modules_to_save")[0].removeprefix("base_model.model.")
        for key, p in model.named_parameters()
        if p.requires_grad and "adaptkit_" not in key
    } == set(head)
    batch = {key: value for key, value in inputs(name).items() if "decoder" not in key}
    if name in ("t5", "bart"):
        batch["input_ids"][:, -1] = base.config.eos_token_id
    save_adapter(model, tmp_path / "a")
    with torch.no_grad():
        expected = model.eval()(**batch).logits
        assert torch.equal(load_adapter(tmp_path / "a")(**batch).logits, expected)
        other = load_base(str(folders / name), task="classify", labels=LABELS)
        assert torch.equal(load_adapter(tmp_path / "a", other)(**batch).logits, expected)


def test_a_pretrained_head_stays_frozen_and_another_number_of_labels_makes_a_new_one(tmp_path):
    tiny("bert", AutoModelForSequenceClassification, num_labels=3).save_pretrained(tmp_path)
    assert load_base(str(tmp_path), task="classify", labels=3).adaptkit_base.head == ()
    assert load_base(str(tmp_path), task="classify", labels=4).adaptkit_base.head == ("classifier",)


def test_a_half_new_module_is_refused(tmp_path):
    from adaptkit.models.new_modules import new_modules

    model = BartForSequenceClassification(tiny("bart").config)
    assert new_modules(
        model, {"classification_head.dense.weight", "classification_head.dense.bias"}
    ) == ["classification_head.dense"]
    with pytest.raises(AdaptkitError, match="half-new module"):
        new_modules(model, {"classification_head.dense.weight"})


def test_a_fingerprint_knows_its_base(folders, tmp_path):
    base = load_base(str(folders / "bert"))
    print_of_base = base.adaptkit_base.fingerprint
    same = [
        load_base(str(folders / "bert"), task="classify", labels=7),
        load_base(str(folders / "bert"), dtype="bfloat16"),
        load_base(str(folders / "bert"), dtype="float16"),
    ]
    wide = load_base(str(folders / "wide-bert")).adaptkit_base.fingerprint
    packed = [
        load_base(str(folders / "wide-bert"), quantize=quantize) for quantize in ("int8", "nf4")
    ]
    assert all(same_base(wide, model.adaptkit_base.fingerprint) for model in packed)
    assert not same_base(wide, print_of_base)
    assert all(same_base(print_of_base, model.adaptkit_base.fingerprint) for model in same)
    half = load_base(str(folders / "bert"), dtype="bfloat16")
    half.save_pretrained(tmp_path / "half")
    assert same_base(print_of_base, load_base(str(tmp_path / "half")).adaptkit_base.fingerprint)
    assert same_base(print_of_base, fingerprint(adapt(base, "lora+prefix")))
    tuned = tiny("bert")
    with torch.no_grad():
        for name, parameter in tuned.named_parameters():
            if "query" in name:
                parameter.add_(torch.randn_like(parameter) * 1e-3)
    assert not same_base(print_of_base, fingerprint(tuned))
    assert not same_base(print_of_base, fingerprint(tiny("bert", num_hidden_layers=1)))
    assert not same_base(print_of_base, fingerprint(tiny("roberta", seed=1)))


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


def test_the_packaged_minilm_answers_to_its_name():
    base = load_base("all-MiniLM-L6-v2", task="classify", labels=2)
    assert base.adaptkit_base.name == "sentence-transformers/all-MiniLM-L6-v2"
    assert load_tokenizer("all-MiniLM-L6-v2")("hello")["input_ids"][0] == 101


def test_dropout_of_the_frozen_base_is_off_unless_asked_for(folders):
    quiet, loud = (
        load_base(str(folders / "bert"), task="classify", labels=2, base_dropout=on)
        for on in (False, True)
    )
    assert (quiet.config.hidden_dropout_prob, quiet.config.classifier_dropout) == (0.0, 0.1)
    assert loud.config.hidden_dropout_prob == 0.1
    with torch.no_grad():
        quiet.train()
        assert torch.equal(first(quiet.bert(**inputs("bert"))), first(quiet.bert(**inputs("bert"))))


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"name_or_path": "./no/such/folder"}, "no model folder ./no/such/folder"),
        ({"name_or_path": "nobody/nothing"}, "cannot load 'nobody/nothing' in the local cache"),
        (
            {"name_or_path": "all-MiniLM-L6-v2", "task": "clasify"},
            "unknown task 'clasify'; did you mean 'classify'",
        ),
        (
            {"name_or_path": "all-MiniLM-L6-v2", "quantize": "int4"},
            "unknown quantization 'int4'; did you mean 'int8'",
        ),
        ({"name_or_path": "all-MiniLM-L6-v2", "labels": ["a", "a"]}, "different names"),
        ({"name_or_path": "all-MiniLM-L6-v2", "hidden_sise": 3}, "did you mean 'hidden_size'"),
    ],
)
def test_what_cannot_be_loaded_is_explained(arguments, message):
    with pytest.raises(AdaptkitError, match=message):
        load_base(**arguments)


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


def test_an_adapter_over_a_base_that_is_stored_quantized_knows_another_one(tmp_path):
    """Both have the same norms, as decoders that were tuned by LoRA do."""
    for name, seed in (("one", 0), ("other", 5)):
        model = tiny("llama", seed=seed, hidden_size=64, intermediate_size=128)
        for parameter in model.parameters():
            if parameter.ndim < 2:
                torch.nn.init.ones_(parameter)
        model.save_pretrained(tmp_path / name / "whole")
        load_base(str(tmp_path / name / "whole"), quantize="nf4").save_pretrained(
            tmp_path / name / "packed"
        )
    one, other = (
        load_base(str(tmp_path / name / "packed"), task="classify", labels=3)
        for name in ("one", "other")
    )
    save_adapter(adapt(one, "lora[r=2]"), tmp_path / "a")
    with pytest.raises(AdaptkitError, match="trained on another base"):
        load_adapter(tmp_path / "a", other)
    assert load_adapter(tmp_path / "a")


def test_a_folder_that_is_no_model(tmp_path):
    with pytest.raises(AdaptkitError, match=r"holds no config\.json"):
        load_base(str(tmp_path))
    save_adapter(adapt(tiny("bert"), "lora[r=2]"), tmp_path / "a")
    with pytest.raises(
        AdaptkitError,
        match="is an adapter and no base: start from it with --warm_start, or .* adaptkit export",
    ):
        load_base(str(tmp_path / "a"))


def test_a_masked_head_over_an_encoder_that_has_none(tmp_path):
    """Its bias stands beside the tied embedding and stays zero; all else that is new is trained,
    saved and restored.
    """
    base = load_base("all-MiniLM-L6-v2", task="AutoModelForMaskedLM")
    assert base.adaptkit_base.head == ("cls.predictions.transform",)
    assert not base.cls.predictions.bias.any()
    model = adapt(base, "lora[r=2]")
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.normal_()
    save_adapter(model, tmp_path / "a")
    again = load_adapter(tmp_path / "a")
    ids = torch.tensor([[101, 103, 2003, 102]])
    with torch.no_grad():
        torch.testing.assert_close(again(input_ids=ids).logits, model.eval()(input_ids=ids).logits)


@pytest.mark.parametrize(
    "name", ["bert", "roberta", "deberta-v2", "gpt2", "qwen2", "t5", "llama", "marian"]
)
def test_a_folder_without_a_tokenizer_is_refused(tmp_path, name):
    """transformers makes a tokenizer of special tokens alone, which reads every text as unknown."""
    tiny(name).save_pretrained(tmp_path / "base")
    with pytest.raises(AdaptkitError, match=r"holds no tokenizer|cannot load"):
        load_tokenizer(str(tmp_path / "base"))


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
