"""PEFT's own methods."""

import peft
import pytest
import torch

from adaptkit import TaskCard, adapt, load_adapter, load_base, save_adapter
from tests.adapters.classifiers import classifier_with
from tests.tiny import first, inputs, tiny


@pytest.mark.parametrize(
    "method",
    [
        "peft:LOHA[r=4,target_modules=query|value]",
        "peft:IA3[target_modules=key|dense,feedforward_modules=dense]",
    ],
)
def test_pefts_own_methods_are_accepted(method):
    model = adapt(tiny("bert"), method)
    assert model.get_nb_trainable_parameters()[0] > 0
    assert first(model(**inputs("bert"))).shape == (3, 9, 32)


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


def test_a_peft_configuration_stays_its_owners():
    config = peft.LoHaConfig(r=2, target_modules=["query"])
    adapt(classifier_with(), config, head=["classifier"])
    assert config.modules_to_save is None
