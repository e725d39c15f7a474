"""Adapters on disk: what is written, what is read, what is refused; and that a refusal changes
nothing.
"""

import json
import os
import shutil
import time
from pathlib import Path

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from adaptkit import (
    AdaptkitError,
    TaskCard,
    adapt,
    load_adapter,
    load_base,
    parse_method,
    read_card,
    save_adapter,
)
from tests.processes import start
from tests.tiny import first, inputs, randomize, tiny

HEAD = ["classifier"]


def classifier(seed: int = 0, **more):
    return tiny("bert", AutoModelForSequenceClassification, seed=seed, num_labels=3, **more)


@pytest.fixture
def saved(tmp_path) -> Path:
    model = adapt(classifier(), "lora[r=4,alpha=3]+bottleneck[reduction=4]", head=HEAD)
    randomize(model)
    save_adapter(model, tmp_path / "one", card=TaskCard(task="classify", labels=["a", "b", "c"]))
    return tmp_path / "one"


def edit_weights(folder: Path, change, keep_checksum: bool = False) -> None:
    tensors = load_file(folder / "adapter_model.safetensors")
    change(tensors)
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    if not keep_checksum:
        card = json.loads((folder / "task.json").read_text())
        card["weights_sha256"] = None
        (folder / "task.json").write_text(json.dumps(card))


def rename(tensors):
    tensors["nobody"] = tensors.pop(sorted(tensors)[0])


def poison(tensors):
    tensors[sorted(tensors)[3]].view(-1)[0] = float("nan")


def shorten(tensors):
    tensors[sorted(tensors)[3]] = tensors[sorted(tensors)[3]][:-1].clone()


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


def test_several_adapters_on_one_model(tmp_path):
    """Names that contain each other, or name modules of the base; each saved alone, each itself
    again.
    """
    names = ("query", "en", "en_medical", "layer", "weight")
    methods = ("lora[r=2]", "lora[r=4]", "prefix[length=3]", "bottleneck[reduction=4]", "ia3")
    model, outputs = classifier(), {}
    for i, (name, method) in enumerate(zip(names, methods, strict=True)):
        model = adapt(model, method, adapter_name=name, head=HEAD)
        randomize(model, seed=i)
    model.eval()
    for name in names:
        model.set_adapter(name)
        outputs[name] = first(model(**inputs("bert"))).detach()
        save_adapter(model, tmp_path / name, adapter_name=name)
    assert len({float(out.sum()) for out in outputs.values()}) == len(names)
    for name in names:
        alone = load_adapter(tmp_path / name, classifier())
        torch.testing.assert_close(
            first(alone(**inputs("bert"))).detach(), outputs[name], atol=1e-6, rtol=1e-6
        )
    model.delete_adapter("en")
    model.set_adapter("en_medical")
    assert torch.equal(first(model(**inputs("bert"))).detach(), outputs["en_medical"])
    with pytest.raises(AdaptkitError, match="no adapter 'en'"):
        save_adapter(model, tmp_path / "x", adapter_name="en")


@pytest.mark.parametrize("name", ["a.b", "train", "", "keys", "training"])
def test_names_that_torch_cannot_hold_are_refused_before_anything_changes(name, saved):
    base = classifier()
    for action in (
        lambda: adapt(base, "lora", adapter_name=name, head=HEAD),
        lambda: load_adapter(saved, base, adapter_name=name),
    ):
        with pytest.raises(AdaptkitError, match="cannot be used inside a model"):
            action()
    assert not any("adaptkit" in key for key, _ in base.named_modules())
    strange = saved.with_name("a.b train")  # on disk any name will do
    assert load_adapter(saved.rename(strange), base).peft_config


@pytest.mark.parametrize("name", ["bert", "gpt2", "phi3", "t5", "modernbert"])
@pytest.mark.parametrize(
    "method", ["lora[r=3,alpha=5]", "lora[r=6,rslora=true,sites=attn.q|attn.v]"]
)
def test_plain_lora_is_read_by_peft_without_adaptkit(name, method, tmp_path):
    model = adapt(tiny(name), method)
    randomize(model)
    save_adapter(model, tmp_path / "lora")
    config = json.loads((tmp_path / "lora/adapter_config.json").read_text())
    assert config["peft_type"] == "LORA"
    assert "adaptkit" not in json.dumps(config)
    theirs = peft.PeftModel.from_pretrained(tiny(name), tmp_path / "lora").eval()
    ours = load_adapter(tmp_path / "lora", tiny(name))
    with torch.no_grad():
        expected = first(model.eval()(**inputs(name)))
        torch.testing.assert_close(first(theirs(**inputs(name))), expected, atol=1e-5, rtol=1e-5)
        assert torch.equal(
            first(ours(**inputs(name))),
            first(load_adapter(tmp_path / "lora", tiny(name))(**inputs(name))),
        )
        torch.testing.assert_close(first(ours(**inputs(name))), expected, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("method", ["lora[r=6,rslora=true]", "lora[r=6,rslora=true]+ia3"])
def test_an_adapter_does_not_hang_on_the_default_of_alpha(method, tmp_path):
    model = adapt(tiny("bert"), method)
    save_adapter(model, tmp_path / "now")
    assert "alpha=8.0" in read_card(tmp_path / "now").method
    old = json.loads((tmp_path / "now/task.json").read_text())
    old["method"] = old["method"].replace(
        "alpha=8.0,", ""
    )  # as 0.1.0 wrote it, when the default was 2 r
    (tmp_path / "now/task.json").write_text(json.dumps(old))
    lora = parse_method(load_adapter(tmp_path / "now", tiny("bert")).peft_config["default"].method)[
        0
    ]
    assert lora.alpha == 12


@pytest.mark.parametrize("settings", ["bias=lora_only", "bias=all", "init_lora_weights=pissa"])
def test_pefts_methods_that_change_the_base_come_back_onto_it(settings, tmp_path):
    base = load_base("all-MiniLM-L6-v2", task="classify", labels=["a", "b"])
    model = adapt(base, f"peft:LORA[target_modules=query,r=2,{settings}]")
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in (parameter for parameter in model.parameters() if parameter.requires_grad):
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.02)
    save_adapter(model, tmp_path / "one", card=TaskCard(task="classify", labels=["a", "b"]))
    ids = torch.arange(1000, 1012).view(2, 6)
    with torch.no_grad():
        back = load_adapter(tmp_path / "one")
        torch.testing.assert_close(
            back(input_ids=ids).logits, model.eval()(input_ids=ids).logits, atol=1e-4, rtol=1e-4
        )


def test_pefts_lora_is_read_here(tmp_path):
    config = peft.LoraConfig(
        r=4, lora_alpha=3, target_modules=["query", "dense"], task_type="SEQ_CLS"
    )
    theirs = peft.get_peft_model(classifier(), config)
    randomize(theirs)
    theirs.save_pretrained(tmp_path / "theirs", save_embedding_layers=False)
    with torch.no_grad():
        expected = first(theirs.eval()(**inputs("bert")))
        assert torch.equal(
            first(load_adapter(tmp_path / "theirs", classifier())(**inputs("bert"))), expected
        )
    with pytest.raises(AdaptkitError, match="its base is not known"):
        load_adapter(tmp_path / "theirs")
    edit = load_file(tmp_path / "theirs/adapter_model.safetensors")
    edit.pop(sorted(edit)[0])
    save_file(edit, tmp_path / "theirs/adapter_model.safetensors")
    base = classifier()
    with pytest.raises(AdaptkitError, match="missing"):
        load_adapter(tmp_path / "theirs", base)
    assert not any("lora" in name for name, _ in base.named_modules())


def test_other_files_stay_and_the_card_is_filled(saved):
    (saved / "notes.txt").write_text("mine")
    model = load_adapter(saved, classifier(), trainable=True)
    assert any(p.requires_grad for p in model.parameters())
    save_adapter(model, saved, card=read_card(saved))
    assert (saved / "notes.txt").read_text() == "mine"
    card = read_card(saved)
    assert (card.labels, card.task, card.model_class) == (
        ["a", "b", "c"],
        "classify",
        "BertForSequenceClassification",
    )
    assert card.method.startswith("lora[")
    assert {"torch", "peft", "transformers"} <= card.versions.keys()
    assert [path.name for path in saved.parent.iterdir()] == ["one"]


@pytest.mark.slow
def test_a_kill_while_saving_leaves_an_old_or_a_new_adapter(saved):
    """A process saves over and over and is killed at odd moments; what is there always loads."""
    script = saved.parent / "save.py"
    script.write_text(
        "import sys, torch\n"
        "from adaptkit import load_adapter, save_adapter\n"
        "from tests.test_adapter import classifier\n"
        "model = load_adapter(sys.argv[1], classifier(), trainable=True)\n"
        "print('ready', flush=True)\n"
        "while True:\n"
        "    [p.data.add_(0.01) for p in model.parameters() if p.requires_grad]\n"
        "    save_adapter(model, sys.argv[1])\n"
    )
    for attempt in range(4):
        process = start(script, saved)
        while "ready" not in process.stdout:
            assert process.process.is_alive(), process.stderr
            time.sleep(0.005)
        time.sleep(0.05 + 0.037 * attempt)
        process.kill()
        process.wait()
        load_adapter(saved, classifier())


def test_a_head_must_be_known():
    with pytest.raises(AdaptkitError, match=r"Pass head=\['classifier'\]"):
        adapt(classifier(), "lora")
    with pytest.raises(
        AdaptkitError, match="unknown head module 'clasifier'; did you mean 'classifier'"
    ):
        adapt(classifier(), "lora", head=["clasifier"])
    assert not any(
        "modules_to_save" in n
        for n, _ in adapt(tiny("llama", AutoModelForCausalLM), "lora").named_parameters()
    )
