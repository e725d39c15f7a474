"""What is no adapter for this base is refused, and a refusal changes nothing."""

import os
import shutil

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from adaptkit import AdaptkitError, adapt, load_adapter, load_base, save_adapter
from tests.adapters.classifiers import (
    classifier,
    classifier_with,
    edit_weights,
    poison,
    rename,
    shorten,
)
from tests.tiny import first, inputs, randomize, tiny


@pytest.mark.parametrize(
    "damage, message",
    [
        (lambda f: edit_weights(f, lambda t: t.pop(sorted(t)[0])), "1 tensors are missing"),
        (
            lambda f: edit_weights(f, lambda t: t.update(extra=torch.ones(2))),
            "belong nowhere, the first is extra",
        ),
        (lambda f: edit_weights(f, rename), "missing, the first is .*belong nowhere"),
        (lambda f: edit_weights(f, shorten), "has shape"),
        (lambda f: edit_weights(f, poison), "not finite"),
        (
            lambda f: edit_weights(f, lambda t: next(iter(t.values())).add_(1), keep_checksum=True),
            "checksum differs",
        ),
        (
            lambda f: os.truncate(f / "adapter_model.safetensors", 5000),
            "not a whole safetensors file",
        ),
        (
            lambda f: (f / "adapter_model.safetensors").write_bytes(b""),
            "not a whole safetensors file",
        ),
        (
            lambda f: (f / "adapter_model.safetensors").rename(f / "adapter_model.bin"),
            "a pickle .*which is not read",
        ),
        (lambda f: (f / "adapter_config.json").unlink(), "is not an adapter"),
        (lambda f: (f / "task.json").write_text("{"), "not valid JSON"),
        (lambda f: (f / "adapter_config.json").write_text("[]"), "should hold a JSON object"),
    ],
)
def test_damage_is_refused_and_the_base_stays_as_it_was(saved, damage, message):
    damage(saved)
    base = classifier()
    before = first(base(**inputs("bert")))
    with pytest.raises(AdaptkitError, match=message):
        load_adapter(saved, base)
    assert torch.equal(first(base(**inputs("bert"))), before)
    assert not any("adaptkit" in name for name, _ in base.named_modules())


def test_other_bases_are_refused(saved):
    with pytest.raises(AdaptkitError, match="trained on another base"):
        load_adapter(saved, classifier(seed=5))
    with pytest.raises(AdaptkitError, match="trained on another base"):
        load_adapter(saved, classifier(num_hidden_layers=1))
    with pytest.raises(AdaptkitError, match="tensors are missing|belong nowhere|has shape"):
        load_adapter(saved, classifier(num_hidden_layers=1), check_base=False)
    five = tiny("bert", AutoModelForSequenceClassification, num_labels=5)
    five.load_state_dict(
        classifier().state_dict()
        | {k: v for k, v in five.state_dict().items() if "classifier" in k}
    )
    with pytest.raises(AdaptkitError, match="another number of labels"):
        load_adapter(saved, five)


def test_unknown_folders_name_the_nearest(saved):
    with pytest.raises(AdaptkitError, match="Did you mean .*one"):
        load_adapter(saved.with_name("ona"), classifier())


def test_a_failed_second_load_leaves_the_first_adapter_working(saved):
    model = load_adapter(saved, classifier())
    before = first(model(**inputs("bert")))
    bad = shutil.copytree(saved, saved.with_name("bad"))
    edit_weights(bad, rename)
    with pytest.raises(AdaptkitError):
        load_adapter(bad, model, adapter_name="bad")
    assert list(model.peft_config) == ["default"]
    assert torch.equal(first(model(**inputs("bert"))), before)


def test_an_adapter_on_a_merged_base_is_not_one_of_the_base_before(tmp_path):
    base = load_base("all-MiniLM-L6-v2", task="classify", labels=2)
    model = adapt(base, "lora[r=2]")
    randomize(model, std=0.05)
    again = adapt(model.merge_and_unload(), "ia3")
    save_adapter(again, tmp_path / "a")
    with pytest.raises(AdaptkitError, match="trained on another base"):
        load_adapter(tmp_path / "a")


def test_an_adapter_does_not_go_on_a_base_that_was_edited_after_loading(tmp_path):
    save_adapter(adapt(load_base("all-MiniLM-L6-v2"), "ia3"), tmp_path / "a")
    base = load_base("all-MiniLM-L6-v2")
    with torch.no_grad():
        for parameter in base.parameters():
            parameter.mul_(1.1)
    with pytest.raises(AdaptkitError, match="trained on another base"):
        load_adapter(tmp_path / "a", base)


def test_labels_in_another_order_are_refused_and_nameless_ones_are_named(tmp_path):
    save_adapter(
        adapt(classifier_with(("bad", "good")), "ia3", head=["classifier"]), tmp_path / "a"
    )
    with pytest.raises(AdaptkitError, match="in this order, the base has"):
        load_adapter(tmp_path / "a", classifier_with(("good", "bad")))
    model = load_adapter(tmp_path / "a", classifier_with())
    assert model.config.label2id == {"bad": 0, "good": 1}


def test_a_second_adapter_with_the_labels_in_another_order_is_refused(tmp_path):
    for name, labels in (
        ("one", ("bad", "good")),
        ("same", ("bad", "good")),
        ("other", ("good", "bad")),
    ):
        save_adapter(adapt(classifier_with(labels), "ia3", head=["classifier"]), tmp_path / name)
    model = load_adapter(tmp_path / "one", classifier_with())
    load_adapter(tmp_path / "same", model, adapter_name="same")
    with pytest.raises(AdaptkitError, match=r"has the labels \['good', 'bad'\] in this order"):
        load_adapter(tmp_path / "other", model, adapter_name="other")
    assert list(model.peft_config) == ["default", "same"]
    assert model.config.id2label == {0: "bad", 1: "good"}


def test_a_base_whose_names_are_written_in_another_order_is_read_by_its_numbers(tmp_path):
    save_adapter(
        adapt(classifier_with(("bad", "good")), "ia3", head=["classifier"]), tmp_path / "a"
    )
    base = classifier_with(("bad", "good"))
    base.config.id2label = {1: "good", 0: "bad"}
    assert load_adapter(tmp_path / "a", base).config.id2label[1] == "good"


def test_a_refused_adapter_leaves_the_base_without_names(saved):
    edit_weights(saved, shorten)
    base = classifier()
    with pytest.raises(AdaptkitError, match="has shape"):
        load_adapter(saved, base)
    assert base.config.id2label == {0: "LABEL_0", 1: "LABEL_1", 2: "LABEL_2"}
