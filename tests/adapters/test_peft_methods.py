"""PEFT's own methods."""

import peft
import pytest
import torch
from transformers import AutoModelForCausalLM

from adaptkit import AdaptkitError, TaskCard, adapt, load_adapter, load_base, save_adapter
from tests.adapters.classifiers import classifier_with
from tests.host.store import edit
from tests.tiny import first, inputs, randomize, tiny


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


@pytest.mark.parametrize("start", ["pissa_niter_4", "pissa_niter_16"])
def test_a_start_that_changes_the_base_at_random_is_refused(start, tmp_path):
    """Its decomposition is another one each time that it is loaded."""
    base = load_base("all-MiniLM-L6-v2", task="classify", labels=["a", "b"])
    method = f"peft:LORA[target_modules=query,r=2,init_lora_weights={start}]"
    with pytest.raises(AdaptkitError, match=f"init_lora_weights is '{start}'.*Use pissa"):
        adapt(base, method)
    save_adapter(adapt(base, "peft:LORA[target_modules=query,r=2]"), tmp_path / "one")
    edit(tmp_path / "one", "adapter_config.json", init_lora_weights=start)
    with pytest.raises(AdaptkitError, match="adapter_config.json: init_lora_weights is"):
        load_adapter(tmp_path / "one")


@pytest.mark.parametrize(
    "method",
    [
        "peft:PROMPT_TUNING",
        "peft:PREFIX_TUNING",
        "peft:LORA[target_modules=nowhere]",
        "peft:LORA[target_modules=(a+)+$]",
        "peft:VBLORA[vector_length=7]",
    ],
)
def test_what_peft_refuses_is_an_error_of_ours(method):
    base = load_base("all-MiniLM-L6-v2", task="classify", labels=["a", "b"])
    with pytest.raises(AdaptkitError, match="PEFT refuses"):
        adapt(base, method)


def test_two_types_of_adapters_in_one_model_are_refused_by_name():
    model = peft.get_peft_model(tiny("bert"), peft.LoraConfig(target_modules=["query"]), "theirs")
    with pytest.raises(AdaptkitError, match="PEFT refuses ADAPTKIT"):
        adapt(model, "lora", adapter_name="ours")


def test_a_peft_configuration_stays_its_owners():
    config = peft.LoHaConfig(r=2, target_modules=["query"])
    adapt(classifier_with(), config, head=["classifier"])
    assert config.modules_to_save is None


@pytest.mark.parametrize(
    ("written", "names"), [("lm_head", ["lm_head"]), ("lm_head|mlp", ["lm_head", "mlp"])]
)
def test_modules_to_save_are_names(written, names, tmp_path):
    method = f"peft:lora[target_modules=q_proj,modules_to_save={written}]"
    model = adapt(tiny("llama", AutoModelForCausalLM), method)
    trained = {name for name, one in model.named_parameters() if one.requires_grad}
    assert {
        name.split(".modules_to_save")[0].split(".")[-1] for name in trained if "_to_save" in name
    } == {*names}
    randomize(model)
    model.save_pretrained(tmp_path)
    before = model.eval()(**inputs("llama")).logits
    randomize(model, seed=5)
    model.load_adapter(tmp_path, "default")  # as Trainer does with the best checkpoint
    torch.testing.assert_close(model.eval()(**inputs("llama")).logits, before)


def test_modules_to_save_that_are_not_there_are_refused():
    with pytest.raises(AdaptkitError, match="unknown module to save 'lm_haed'.*lm_head"):
        adapt(
            tiny("llama", AutoModelForCausalLM),
            "peft:lora[target_modules=q_proj,modules_to_save=lm_haed]",
        )
