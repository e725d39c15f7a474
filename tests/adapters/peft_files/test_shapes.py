"""The tensors that PEFT needs are known before PEFT makes them."""

import peft
import pytest
import torch
from peft.utils import get_peft_model_state_dict
from transformers import AutoModelForSequenceClassification

from adaptkit import AdaptkitError, adapt, load_adapter
from adaptkit.adapters.peft_files.shapes import expected_tensors, meta_copy
from tests.host.store import edit
from tests.tiny import tiny

CONFIGS = {
    "lora": peft.LoraConfig(
        r=4, target_modules="all-linear", rank_pattern={"layer.1.*query": 2}, task_type="SEQ_CLS"
    ),
    "dora": peft.LoraConfig(r=4, target_modules=["query"], use_dora=True),
    "loha": peft.LoHaConfig(r=4, target_modules=["query"]),
    "ia3": peft.IA3Config(target_modules=["key"], feedforward_modules=[]),
    "vera": peft.VeraConfig(r=8, target_modules=["query"]),
}


def written(config) -> dict:
    return {
        key: list(one) if isinstance(one, set) else one for key, one in config.to_dict().items()
    }


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("adapted", [False, True])
def test_they_are_those_that_peft_makes(name, adapted, tmp_path):
    base = tiny("bert", AutoModelForSequenceClassification)
    real = get_peft_model_state_dict(
        peft.get_peft_model(tiny("bert", AutoModelForSequenceClassification), CONFIGS[name])
    )
    if adapted:
        adapt(base, "lora[r=2]+bottleneck", head=["classifier"])
    found = expected_tensors(written(CONFIGS[name]), base, tmp_path)
    assert found == {key: tuple(tensor.shape) for key, tensor in real.items()}
    assert not any(tensor.is_meta for tensor in base.parameters())


def test_a_copy_without_memory_has_the_base_as_it_was():
    base = tiny("bert")
    names = {name: parameter.shape for name, parameter in base.named_parameters()}
    adapt(base, "lora[r=2]+ia3")
    copied = meta_copy(base)
    assert {name: parameter.shape for name, parameter in copied.named_parameters()} == names
    assert all(tensor.is_meta for tensor in copied.parameters())


@pytest.mark.parametrize(
    "config, size",
    [
        (peft.LoraConfig(r=2, target_modules=["query"]), {"r": 10**8}),
        (peft.LoHaConfig(r=2, target_modules=["query"]), {"r": 10**8}),
        (
            peft.PrefixTuningConfig(num_virtual_tokens=2, task_type="SEQ_CLS"),
            {"num_virtual_tokens": 10**8},
        ),
    ],
    ids=lambda one: getattr(one, "peft_type", None),
)
def test_absurd_sizes_take_no_memory(config, size, tmp_path):
    model = peft.get_peft_model(tiny("bert", AutoModelForSequenceClassification), config)
    model.save_pretrained(tmp_path / "one", save_embedding_layers=False)
    edit(tmp_path / "one", "adapter_config.json", **size)
    base = tiny("bert", AutoModelForSequenceClassification)
    with pytest.raises(AdaptkitError, match="has shape|at most 16,384|refuses"):
        load_adapter(tmp_path / "one", base)
    assert isinstance(base.bert.encoder.layer[0].attention.self.query, torch.nn.Linear)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"peft_type": "NOVELTY"}, "PEFT does not know the method 'NOVELTY'"),
        ({"peft_type": 5}, "peft_type should be text; it is 5"),
        ({"r": "8"}, "r should be a whole number, or null; it is '8'"),
        ({"r": 0}, "PEFT refuses"),
        ({"r": None}, "PEFT refuses"),
        ({"lora_alpha": None}, "lora_alpha should be a number; it is None"),
        ({"lora_alpha": float("nan")}, "nan, which is no number"),
        ({"lora_alpha": 10**7}, "lora_alpha' is at most 1,000,000"),
        ({"alpha_pattern": {"query": 1e308}}, "no number to compute with"),
        ({"rank_pattern": {"query": 10**30}}, "more than 63 bits"),
        ({"monteclora_config": {"a": 1}}, "PEFT refuses"),
        ({"base_model_name_or_path": ["a"]}, "base_model_name_or_path should be text, or null"),
        ({"target_modules": "x" * 20_000}, "longer than 10,000 characters"),
        ({"odd": [[[[[[[[[[]]]]]]]]]]}, "more than 8 levels"),
        ({"odd": [0] * 200_000}, "more than 100,000 values"),
    ],
    ids=lambda one: next(iter(one)) if isinstance(one, dict) else "",
)
def test_odd_settings_are_named(settings, message, tmp_path):
    config = peft.LoraConfig(r=2, target_modules=["query"])
    peft.get_peft_model(tiny("bert"), config).save_pretrained(tmp_path, save_embedding_layers=False)
    edit(tmp_path, "adapter_config.json", **settings)
    with pytest.raises(AdaptkitError, match=message) as refusal:
        load_adapter(tmp_path, tiny("bert"))
    assert "adapter_config.json" in str(refusal.value)
    assert len(str(refusal.value)) < 600
