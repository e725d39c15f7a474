"""The plug-in from PEFT's side: what PEFT's own common tests check, rewritten for ours, and
transformers' entrance.
"""

import copy
import pickle

import peft
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from adaptkit import AdaptConfig, AdaptkitError, adapt, load_adapter
from adaptkit.adapters.layer import AdaptLayer
from tests.adapters.classifiers import HEAD, classifier
from tests.tiny import first, inputs, randomize, tiny

METHODS = (
    "lora[r=4,alpha=3]",
    "bottleneck[reduction=4]",
    "bottleneck[placement=parallel,reduction=4]",
    "prefix[length=3]",
    "ia3",
)
every_method = pytest.mark.parametrize("method", METHODS)


def wrapped(method, name="bert", adapter="default"):
    model = peft.get_peft_model(tiny(name), AdaptConfig(method=method), adapter_name=adapter)
    randomize(model)
    return model.eval()


def out(model, name="bert"):
    with torch.no_grad():
        return first(model(**inputs(name)))


@every_method
def test_get_peft_model_takes_the_config_and_leaves_it_alone(method):
    config = AdaptConfig(method=method)
    before = copy.deepcopy(config.to_dict())
    model = peft.get_peft_model(tiny("bert"), config)
    assert type(model) is peft.PeftModel
    assert {
        k: v
        for k, v in config.to_dict().items()
        if k not in ("base_model_name_or_path", "auto_mapping")
    } == {k: v for k, v in before.items() if k not in ("base_model_name_or_path", "auto_mapping")}
    assert 0 < model.get_nb_trainable_parameters()[0] < model.get_nb_trainable_parameters()[1]


@every_method
@pytest.mark.parametrize("low_cpu", [False, True])
def test_save_pretrained_and_from_pretrained(method, low_cpu, tmp_path):
    model = wrapped(method)
    model.save_pretrained(tmp_path, save_embedding_layers=False)
    config = peft.PeftConfig.from_pretrained(str(tmp_path))
    assert isinstance(config, AdaptConfig)
    assert config.method == model.peft_config["default"].method
    again = peft.PeftModel.from_pretrained(tiny("bert"), tmp_path, low_cpu_mem_usage=low_cpu)
    assert torch.equal(out(again), out(model))
    again.load_adapter(tmp_path, adapter_name="other", low_cpu_mem_usage=low_cpu)
    again.set_adapter("other")
    assert torch.equal(out(again), out(model))
    state = peft.get_peft_model_state_dict(model, save_embedding_layers=False)
    assert (
        state.keys()
        == peft.get_peft_model_state_dict(
            again, adapter_name="other", save_embedding_layers=False
        ).keys()
    )


@every_method
def test_adapters_are_added_switched_and_deleted(method):
    model = wrapped(method)
    one = out(model)
    model.add_adapter("two", AdaptConfig(method="lora[r=2]"))
    assert torch.equal(out(model), one)
    model.set_adapter("two")
    assert torch.equal(out(model), out(tiny("bert")))
    assert all(".two." in key for key, p in model.named_parameters() if p.requires_grad)
    model.set_adapter("default")
    assert torch.equal(out(model), one)
    model.delete_adapter("two")
    assert list(model.peft_config) == ["default"]
    assert not any(".two." in key for key in model.state_dict())
    assert torch.equal(out(model), one)


def test_two_active_adapters_act_in_turn():
    model = wrapped("lora[r=4]")
    model.add_adapter("two", AdaptConfig(method="lora[r=2]"))
    randomize(model)
    with torch.no_grad():
        for key, p in model.named_parameters():
            if ".two." in key:
                p.normal_(std=0.2)
    alone = out(model)
    model.base_model.set_adapter(["default", "two"])
    both = out(model)
    assert (both - alone).abs().max() > 1e-3
    merged = model.merge_and_unload()
    torch.testing.assert_close(out(merged), both, atol=2e-5, rtol=1e-4)


@every_method
def test_status_copies_and_pickles(method):
    model = wrapped(method)
    expected = out(model)
    status = model.get_model_status()
    assert (status.enabled, status.active_adapters, status.merged_adapters) == (
        True,
        ["default"],
        [],
    )
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for p in twin.parameters():
            if p.requires_grad:
                p.zero_()
    assert torch.equal(out(model), expected)
    assert torch.equal(out(copy.deepcopy(model)), expected)
    assert torch.equal(out(pickle.loads(pickle.dumps(model))), expected)
    base = model.unload()
    assert not any(
        isinstance(module, AdaptLayer) or module._forward_pre_hooks for module in base.modules()
    )
    assert torch.equal(out(base), out(tiny("bert")))


@every_method
def test_training_a_second_adapter_leaves_the_first(method):
    model = wrapped(method)
    model.add_adapter("two", AdaptConfig(method=method))
    first_weights = {
        key: p.detach().clone() for key, p in model.named_parameters() if ".default." in key
    }
    model.set_adapter("two")
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1.0)
    first(model(**inputs("bert"))).square().mean().backward()
    optimizer.step()
    assert first_weights
    assert all(
        torch.equal(p, first_weights[key])
        for key, p in model.named_parameters()
        if key in first_weights
    )


@every_method
def test_transformers_add_adapter(method):
    model = tiny("llama", AutoModelForCausalLM)
    model.add_adapter(AdaptConfig(method=method), adapter_name="mine")
    assert model.active_adapters() == ["mine"]
    randomize(model)
    changed = out(model, "llama")
    model.disable_adapters()
    assert torch.equal(out(model, "llama"), out(tiny("llama", AutoModelForCausalLM), "llama"))
    model.enable_adapters()
    assert torch.equal(out(model, "llama"), changed)


def test_pefts_own_head_handling_works_with_our_type():
    config = AdaptConfig(method="lora[r=2]", task_type="SEQ_CLS")
    model = peft.get_peft_model(tiny("bert", AutoModelForSequenceClassification), config)
    assert type(model) is peft.PeftModelForSequenceClassification
    assert any(
        "classifier.modules_to_save" in key
        for key, p in model.named_parameters()
        if p.requires_grad
    )


def test_rows_with_different_adapters_are_sent_to_the_host():
    """PEFT leaves `adapter_names` aside where a tuner does not know it: every row would go through
    the active adapter.
    """
    model = wrapped("lora")
    for call in (model, model.generate):
        with pytest.raises(AdaptkitError, match="adaptkit.Host"):
            call(**inputs("bert"), adapter_names=["default", "__base__"])


def test_config_refuses_what_it_would_ignore():
    with pytest.raises(AdaptkitError, match="takes no target_modules"):
        AdaptConfig(method="lora", target_modules=["query"])
    with pytest.raises(AdaptkitError, match="already"):
        adapt(adapt(tiny("bert"), "lora"), "lora")


def test_threads_do_not_mix_their_rows():
    """Blocks and prefixes pass tensors beside the call: each thread its own."""
    from concurrent.futures import ThreadPoolExecutor

    model = wrapped("bottleneck[placement=parallel,reduction=4]+prefix[length=3,gate=true]")
    batches = [inputs("bert", rows=1 + i % 3, length=5 + i % 4, seed=i) for i in range(24)]

    def answer(batch):
        with torch.no_grad():
            return first(model(**batch))

    alone = [answer(batch) for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        for mine, expected in zip(pool.map(answer, batches * 3), alone * 3, strict=True):
            torch.testing.assert_close(mine, expected, atol=1e-6, rtol=1e-6)


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


def test_both_predictions_of_one_model_are_the_same_after_a_refused_merge():
    model = adapt(tiny("bert"), "bottleneck[placement=parallel,reduction=4]").eval()
    randomize(model)
    before = first(model(**inputs("bert")))
    with pytest.raises(AdaptkitError):
        model.merge_adapter()
    assert torch.equal(first(model(**inputs("bert"))), before)
