"""Plain LoRA is a file of PEFT's: PEFT reads ours, and we read theirs."""

import json

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file

from adaptkit import AdaptkitError, adapt, load_adapter, save_adapter
from tests.adapters.classifiers import classifier
from tests.tiny import first, inputs, randomize, tiny


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
