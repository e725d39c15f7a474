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
