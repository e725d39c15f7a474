"""Adapters on disk: what is written, what is read; several on one model."""

import json
import time

import pytest
import torch

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
from adaptkit.models.untrained.scratch import make_model
from tests.adapters.classifiers import HEAD, classifier, classifier_with
from tests.processes import start
from tests.tiny import first, inputs, randomize, tiny


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
    settings = json.loads((tmp_path / "now/adapter_config.json").read_text())
    settings |= {"method": old["method"]} if "method" in settings else {"lora_alpha": 12}
    (tmp_path / "now/adapter_config.json").write_text(json.dumps(settings))
    lora = parse_method(load_adapter(tmp_path / "now", tiny("bert")).peft_config["default"].method)[
        0
    ]
    assert lora.alpha == 12


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
        "from tests.adapters.classifiers import classifier\n"
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


def test_an_adapter_saved_while_another_is_merged_goes_on_its_base(tmp_path):
    model = adapt(classifier_with(), "lora[r=2]", adapter_name="one", head=["classifier"])
    model = adapt(model, "lora[r=4]", adapter_name="two", head=["classifier"])
    randomize(model)
    model.merge_adapter(["two"])
    save_adapter(model, tmp_path / "one", adapter_name="one")
    load_adapter(tmp_path / "one", classifier_with())


@pytest.mark.parametrize("card", [None, TaskCard(task="classify", labels=["a", "b"], max_length=9)])
def test_a_readme_says_what_an_adapter_is_and_how_it_is_loaded(tmp_path, card):
    make_model("bert", ["one two"], tmp_path / "bert", vocab_size=200)
    task = {"task": "classify", "labels": ["a", "b"]} if card else {}
    model = adapt(load_base(str(tmp_path / "bert"), **task), "lora[r=2]")
    save_adapter(model, tmp_path / "a", card=card)
    text = (tmp_path / "a/README.md").read_text()
    assert f"base_model: {tmp_path / 'bert'}\n" in text
    assert ("for **classify**" in text) == ("Labels: `a`, `b`." in text) == bool(card)
    code = "\n".join(line[4:] for line in text.splitlines() if line.startswith("    "))
    found: dict = {}
    exec(code, found)
    assert found["adapter"]("one")[0]["label"] in "ab" if card else found["adapter"].peft_config
    (tmp_path / "a/README.md").write_text("mine")
    save_adapter(model, tmp_path / "a", card=card)
    assert (tmp_path / "a/README.md").read_text() == "mine"
