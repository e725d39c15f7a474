"""An adapter is all of what answers, and its two files say the same of it."""

import json

import peft
import pytest
from safetensors import safe_open
from transformers import AutoModelForSequenceClassification

from adaptkit import AdaptkitError, Host, TaskCard, adapt, load_adapter, load_base, save_adapter
from adaptkit.models.untrained.scratch import make_model
from tests.host.store import edit

BASE = "all-MiniLM-L6-v2"


@pytest.fixture
def saved(tmp_path):
    """A classifier over MiniLM."""
    base = load_base(BASE, task="classify", labels=["a", "b"])
    card = TaskCard(task="classify", labels=["a", "b"])
    save_adapter(adapt(base, "lora[r=4,sites=attn.q]"), tmp_path / "one", card=card)
    return tmp_path / "one"


def test_a_head_that_nobody_stored_is_refused(tmp_path):
    """PEFT stores the classifier, and the base's checkpoint holds no pooler: it would be random."""
    make_model("bert", ["a few words"], tmp_path / "base", vocab_size=90, hidden_size=32)
    whole = AutoModelForSequenceClassification.from_pretrained(tmp_path / "base", num_labels=3)
    lora = peft.LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["query"])
    peft.get_peft_model(whole, lora).save_pretrained(tmp_path / "one")
    base = load_base(str(tmp_path / "base"), task="classify", labels=["a", "b", "c"])
    assert base.adaptkit_base.head == ("bert.pooler", "classifier")
    with pytest.raises(AdaptkitError, match="one holds no bert.pooler.dense.*answer at random"):
        load_adapter(tmp_path / "one", base)
    host = Host(str(tmp_path / "base"), slots=1)
    with pytest.raises(AdaptkitError, match="pooler, which neither that checkpoint nor the"):
        host.load("one", tmp_path / "one", labels=["a", "b", "c"])


def test_an_adapter_without_a_head_does_not_answer_with_a_fresh_one(tmp_path):
    save_adapter(adapt(load_base(BASE), "lora[r=2]"), tmp_path / "one")
    with pytest.raises(AdaptkitError, match="holds no classifier.weight.*answer at random"):
        load_adapter(tmp_path / "one", load_base(BASE, task="classify", labels=["a", "b"]))


def test_a_card_with_another_task_than_its_head_is_refused(saved):
    edit(saved, "task.json", task="tag", labels=["O", "B-x", "I-x"])
    with pytest.raises(AdaptkitError, match="was trained as 'BertForSequenceClass.*a wrong card"):
        load_adapter(saved)


def test_a_second_adapter_names_no_labels_of_the_first(tmp_path):
    """One list of names is all that a model has."""
    base = load_base(BASE, task="classify", labels=3)
    model = adapt(base, "peft:LORA[target_modules=query,r=2]", adapter_name="nameless")
    other = load_base(BASE, task="classify", labels=["c", "b", "a"])
    save_adapter(adapt(other, "peft:LORA[target_modules=query,r=2]"), tmp_path / "one")
    with pytest.raises(AdaptkitError, match="give it a base of its own"):
        load_adapter(tmp_path / "one", model, adapter_name="named")
    assert base.config.id2label[0] == "LABEL_0"


@pytest.mark.parametrize(
    "change, message",
    [
        ({"lora_alpha": 100}, "'lora_alpha' is 100, which is not what task.json says"),
        ({"r": 2}, "'r' is 2"),
        ({"use_rslora": True}, "'use_rslora' is True"),
        ({"use_dora": True}, "'use_dora' is True"),
        ({"bias": "all"}, "'bias' is 'all'"),
        ({"rank_pattern": {"query": "four"}}, "rank_pattern should hold ranks; one is 'four'"),
        ({"rank_pattern": {"query": 2}}, "'alpha_pattern' is None"),
        ({"peft_type": "IA3"}, "'peft_type' is 'IA3'"),
        ({"alpha_pattern": {"query": 4}}, "'alpha_pattern' is"),
        ({"target_modules": ["query", "dense"]}, "target_modules names 'dense'"),
        ({"target_modules": []}, "target_modules does not name"),
        ({"layers_to_transform": [0]}, "'layers_to_transform' is"),
        ({"modules_to_save": None}, "belong nowhere"),
    ],
)
def test_settings_for_peft_that_differ_from_the_card_are_refused(saved, change, message):
    load_adapter(saved)
    edit(saved, "adapter_config.json", **change)
    with pytest.raises(AdaptkitError) as refused:
        load_adapter(saved)
    assert message in str(refused.value)


def test_the_method_of_a_union_is_the_same_in_both_files(tmp_path):
    save_adapter(adapt(load_base(BASE), "lora[r=4]+ia3"), tmp_path / "one")
    edit(tmp_path / "one", "adapter_config.json", method="lora[alpha=9.0,r=4]+ia3")
    with pytest.raises(AdaptkitError, match="'method' is 'lora.alpha=9.0,r=4.*Was one of the two"):
        load_adapter(tmp_path / "one")


def test_a_loaded_adapter_trains_only_if_asked(saved):
    for given, trains in (({}, False), ({"trainable": True}, True)):
        model = load_adapter(saved, **given)
        assert any(parameter.requires_grad for parameter in model.parameters()) is trains
        assert model.training is trains


def test_a_card_that_names_no_base_is_not_said_to_be_missing(saved):
    edit(saved, "task.json", base=None)
    with pytest.raises(AdaptkitError, match="names no base in its task.json"):
        load_adapter(saved)


def test_other_labels_are_refused_with_what_to_do(saved):
    other = load_base(BASE, task="classify", labels=["b", "a"])
    with pytest.raises(AdaptkitError) as refused:
        load_adapter(saved, other)
    assert str(refused.value) == (
        f"{saved} has the labels ['a', 'b'] in this order, the base has ['b', 'a']: "
        "load_base(..., labels=['a', 'b'])."
    )
    model = adapt(other, "ia3", adapter_name="first")
    with pytest.raises(AdaptkitError) as refused:
        load_adapter(saved, model, adapter_name="second")
    assert str(refused.value).endswith(
        "the base has ['b', 'a']: give it a base of its own, load_base(..., labels=['a', 'b']), or "
        "serve both with a Host."
    )
    nameless = load_base(BASE, task="classify", labels=2)
    assert load_adapter(saved, nameless).config.id2label == {0: "a", 1: "b"}


def test_the_files_say_what_pefts_tools_look_for(saved):
    settings = json.loads((saved / "adapter_config.json").read_text())
    assert settings["inference_mode"] is True
    assert settings["task_type"] == "SEQ_CLS"
    assert settings["base_model_name_or_path"] == f"sentence-transformers/{BASE}"
    with safe_open(saved / "adapter_model.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt"}


def test_how_a_base_is_loaded_is_for_the_caller_to_say(saved):
    model = load_adapter(saved, quantize="int8", base_dropout=True)
    assert model.get_base_model().adaptkit_base.quantize == "int8"
    assert model.config.hidden_dropout_prob == 0.1
    edit(saved, "task.json", quantize="int8")
    assert load_adapter(saved).get_base_model().adaptkit_base.quantize == "int8"
    whole = load_adapter(saved, quantize="none")
    assert whole.get_base_model().adaptkit_base.quantize is None


def test_a_base_in_the_adapters_folder_moves_with_it(tmp_path):
    make_model("bert", ["a few words"], tmp_path / "one/base", vocab_size=90, hidden_size=32)
    model = adapt(load_base(str(tmp_path / "one/base"), task="classify", labels=["a", "b"]), "ia3")
    save_adapter(model, tmp_path / "one", card=TaskCard(task="classify", labels=["a", "b"]))
    assert json.loads((tmp_path / "one/task.json").read_text())["base"] == "./base"
    (tmp_path / "one").rename(tmp_path / "two")
    assert load_adapter(tmp_path / "two").get_base_model().adaptkit_base.name == str(
        tmp_path / "two/base"
    )
