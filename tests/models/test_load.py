"""Loading bases: heads that are found, dropout, names that are wrong."""

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification

from adaptkit import AdaptkitError, adapt, load_adapter, load_base, load_tokenizer, save_adapter
from tests.tiny import first, inputs, randomize, tiny

LABELS = ["down", "level", "up"]


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


@pytest.mark.parametrize("dtype", [torch.int32, torch.bool, torch.uint8])
def test_weights_that_are_whole_numbers_are_refused(dtype, tmp_path):
    """transformers casts them, and the model answers with rounded weights."""
    tiny("bert").save_pretrained(tmp_path)
    path, name = tmp_path / "model.safetensors", "encoder.layer.0.attention.self.query.weight"
    tensors = load_file(path)
    save_file({**tensors, name: (tensors[name] * 9).to(dtype)}, path, metadata={"format": "pt"})
    with pytest.raises(AdaptkitError, match=f"{name} is .*weights are numbers with a fraction"):
        load_base(str(tmp_path))


def test_the_dropout_of_a_base_is_known_and_silent_unless_asked():
    from adaptkit.models.load import dropouts_of

    silent, kept = (
        dropouts_of(load_base("all-MiniLM-L6-v2", base_dropout=wish).config)
        for wish in (False, True)
    )
    assert silent == {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    assert kept == {"hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1}
