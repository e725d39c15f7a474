"""Folders that PEFT wrote with embeddings or output maps in them load as PEFT loads them."""

import warnings

import peft
import pytest
import torch
from transformers import AutoModelForCausalLM

from adaptkit import AdaptkitError, load_adapter
from tests.tiny import inputs, tiny

CONFIGS = {
    "target embeddings": {"target_modules": ["q_proj", "embed_tokens"]},
    "target output map": {"target_modules": ["q_proj", "lm_head"]},
    "target both": {"target_modules": ["embed_tokens", "lm_head"]},
    "pattern": {"target_modules": r".*(embed_tokens|q_proj)"},
    "save embeddings": {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"]},
    "save both": {"target_modules": ["q_proj"], "modules_to_save": ["lm_head", "embed_tokens"]},
    "tokens": {"target_modules": ["q_proj"], "trainable_token_indices": [3, 5]},
    "tokens by name": {
        "target_modules": ["q_proj", "lm_head"],
        "trainable_token_indices": {"embed_tokens": [3, 5]},
    },
}


def base(tied: bool = False, tokens: int | None = None):
    model = tiny("llama", AutoModelForCausalLM, tie_word_embeddings=tied)
    if tokens:
        torch.manual_seed(7)
        model.resize_token_embeddings(tokens, mean_resizing=False)
    return model


def written(folder, model, settings, saving="auto"):
    """What PEFT writes of a trained LoRA, and the logits with it."""
    config = peft.LoraConfig(task_type="CAUSAL_LM", r=2, **settings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trained = peft.get_peft_model(model, config)
        with torch.no_grad():
            for parameter in trained.parameters():
                if parameter.requires_grad:
                    parameter.add_(torch.randn_like(parameter) * 0.1)
        trained.save_pretrained(folder, save_embedding_layers=saving)
    return logits(trained.eval())


def logits(model):
    with torch.no_grad():
        return model(**inputs("llama")).logits


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("saving", ["auto", True])
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("name", CONFIGS)
def test_a_folder_with_embeddings_loads_as_peft_loads_it(name, tied, saving, tmp_path):
    expected = written(tmp_path, base(tied), CONFIGS[name], saving)
    pefts = peft.PeftModel.from_pretrained(base(tied), tmp_path).eval()
    assert torch.equal(logits(pefts), expected)
    assert torch.equal(logits(load_adapter(tmp_path, base(tied))), expected)
    first = peft.get_peft_model(base(tied), peft.LoraConfig(target_modules=["q_proj"]))
    beside = load_adapter(tmp_path, first, adapter_name="second")
    beside.set_adapter("second")
    assert torch.equal(logits(beside.eval()), expected)


@pytest.mark.filterwarnings("ignore")
def test_embeddings_that_grew_come_with_the_adapter(tmp_path):
    """New tokens were added before training: their vectors are in the file alone."""
    model = base(tokens=110)
    expected = written(tmp_path, model, {"target_modules": ["q_proj"]}, saving=True)
    fresh = base()
    with torch.no_grad():
        fresh.resize_token_embeddings(110)
    assert torch.equal(logits(load_adapter(tmp_path, fresh)), expected)


@pytest.mark.filterwarnings("ignore")
def test_other_embeddings_than_the_base_has_are_not_put_below_its_other_adapters(tmp_path):
    changed = base()
    with torch.no_grad():
        changed.get_input_embeddings().weight.mul_(1.5)
    expected = written(tmp_path, changed, CONFIGS["target embeddings"])
    assert torch.equal(logits(load_adapter(tmp_path, base())), expected)
    first = peft.get_peft_model(base(), peft.LoraConfig(target_modules=["q_proj"])).eval()
    before = logits(first)
    with pytest.raises(AdaptkitError, match=r"embed_tokens.*load it alone"):
        load_adapter(tmp_path, first, adapter_name="second")
    assert torch.equal(logits(first), before)


@pytest.mark.filterwarnings("ignore")
def test_embeddings_of_another_size_say_how_to_resize_the_base(tmp_path):
    written(tmp_path, base(tokens=110), {"target_modules": ["q_proj"]}, saving=True)
    with pytest.raises(AdaptkitError, match=r"resize_token_embeddings\(110\)"):
        load_adapter(tmp_path, base())
