"""An adapted model has the structure of its base: its sites, its modules, its fingerprint."""

import copy

import peft
import pytest
import torch
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification

from adaptkit import AdaptConfig, adapt, find_sites, fingerprint, load_adapter, save_adapter
from adaptkit.models.backbone import base_modules
from tests.tiny import CONFIGS, first, inputs, randomize, tiny

PEFTS = {
    "LORA": {"target_modules": "all-linear"},
    "LN_TUNING": {"target_modules": ["input_layernorm"]},
    "TRAINABLE_TOKENS": {"target_modules": ["embed_tokens"], "token_indices": [3]},
    "LOHA": {"target_modules": ["q_proj", "down_proj"]},
    "ADAPTION_PROMPT": {"adapter_len": 2, "adapter_layers": 1, "task_type": "CAUSAL_LM"},
}


def by_structure(kind: str, auto=AutoModel, **more):
    """A model that is not in the table."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **{**CONFIGS["llama"][1], **more})
    return auto.from_config(config).eval()


@pytest.mark.parametrize("kind", ["mpnet", "camembert", "roformer", "granite", "olmo2", "cohere"])
def test_what_is_found_by_structure_is_trained_and_saved_and_takes_a_second_adapter(kind, tmp_path):
    batch = inputs("bert")
    model = adapt(by_structure(kind), "lora[r=2]")
    randomize(model)
    adapt(model, "bottleneck", adapter_name="second")
    randomize(model, seed=4)
    for name in ("default", "second"):
        save_adapter(model, tmp_path / name, adapter_name=name)
        model.set_adapter(name)
        loaded = load_adapter(tmp_path / name, by_structure(kind))
        assert torch.equal(first(loaded(**batch)), first(model.eval()(**batch)))
    other = load_adapter(tmp_path / "default", loaded, adapter_name="other")
    other.set_adapter("other")
    model.set_adapter("default")
    assert torch.equal(first(other(**batch)), first(model(**batch)))


@pytest.mark.parametrize("name", ["bert", "llama", "vit", "opt", "distilbert"])
def test_discovery_looks_through_adapters(name, monkeypatch):
    monkeypatch.setattr("adaptkit.models.find_sites.table_entry", lambda config: None)
    model = tiny(name)
    sites, known, modules = find_sites(model), fingerprint(model), list(base_modules(model))
    adapted = adapt(model, "lora[r=2]+prefix[length=2]")
    randomize(adapted)
    for form in (model, adapted, copy.deepcopy(adapted), adapted.get_base_model()):
        assert find_sites(form) == sites
        assert fingerprint(form) == known
    assert list(base_modules(model)) == modules
    adapted.unload()
    assert find_sites(model) == sites


@pytest.mark.parametrize("kind", PEFTS)
def test_discovery_looks_through_what_peft_injects(kind, monkeypatch):
    monkeypatch.setattr("adaptkit.models.find_sites.table_entry", lambda config: None)
    from transformers import AutoModelForCausalLM

    model = tiny("llama", AutoModelForCausalLM)
    sites, known, modules = find_sites(model), fingerprint(model), list(base_modules(model))
    config = peft.get_peft_config({"peft_type": kind, **PEFTS[kind]})
    adapted = peft.get_peft_model(model, config)
    assert find_sites(adapted) == sites
    assert fingerprint(adapted) == known
    assert list(base_modules(model)) == modules


def test_adaptkit_beside_an_adapter_of_pefts(tmp_path):
    """PEFT's LoRA was there first, and is merged into what adaptkit adapts."""
    batch = inputs("bert")
    lora = peft.LoraConfig(target_modules=["q", "k"], init_lora_weights=False)
    model = peft.get_peft_model(by_structure("mpnet"), lora).merge_and_unload()
    adapted = peft.get_peft_model(model, AdaptConfig(method="bottleneck+lora[r=2]"))
    randomize(adapted)
    save_adapter(adapted, tmp_path / "a")
    expected = first(adapted.eval()(**batch))
    again = load_adapter(tmp_path / "a", adapted.unload())
    assert torch.equal(first(again(**batch)), expected)


def test_modules_that_are_trained_whole_are_those_of_the_base():
    model = by_structure("camembert", AutoModelForSequenceClassification)
    known, modules = fingerprint(model), list(base_modules(model))
    inside = "roberta.encoder.layer.1.output.LayerNorm"
    adapted = adapt(model, "lora", head=["classifier", inside])
    randomize(adapted)
    assert list(base_modules(model)) == modules
    assert fingerprint(adapted) == known


def test_merged_weights_do_not_change_the_fingerprint():
    """Not even where merging gives a map the bias that it did not have."""
    model = by_structure("granite")
    known = fingerprint(model)
    adapted = adapt(model, "lora+ia3")
    randomize(adapted)
    adapted.merge_adapter()
    assert fingerprint(adapted) == known
