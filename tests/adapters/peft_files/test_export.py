"""LoRA as other tools read it: PEFT, and what vLLM's loader asks of a folder."""

import json
import re

import peft
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, Trainer, TrainingArguments

from adaptkit import AdaptkitError, adapt, load_adapter, load_base, save_adapter
from adaptkit.adapters.peft_files.export import export_peft
from adaptkit.cli import main
from adaptkit.models.backbone import base_modules
from tests.tiny import inputs, randomize, tiny

# The modules that vLLM puts LoRA on, by their names in the checkpoint.
SEPARATE = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
SERVED = {
    "llama": SEPARATE,
    "qwen2": SEPARATE,
    "qwen3": SEPARATE,
    "gemma3": SEPARATE,
    "phi3": {"qkv_proj", "o_proj", "gate_up_proj", "down_proj"},
    "gpt2": {"c_attn", "c_proj", "c_fc"},
}
NOT_SERVED = ("use_dora", "lora_bias", "layer_replication", "use_qalora", "modules_to_save")
ALL = "attn.q|attn.k|attn.v|attn.out|ffn.in|ffn.out"


def by_pattern(patterns: dict, module: str, default):
    """As PEFT and vLLM look for a module in a pattern."""
    found = (value for key, value in patterns.items() if re.match(rf"(.*\.)?({key})$", module))
    return next(found, default)


def served(folder, max_lora_rank: int) -> dict[str, torch.Tensor]:
    """What a server adds to each module's weight `(out, in)`, after the checks of vLLM's loader."""
    settings = json.loads((folder / "adapter_config.json").read_text())
    assert 0 < settings["r"] <= max_lora_rank
    assert settings["bias"] == "none"
    assert not [name for name in NOT_SERVED if settings.get(name)]
    assert not isinstance(settings.get("init_lora_weights", True), str)
    pairs: dict[str, dict[str, torch.Tensor]] = {}
    for name, tensor in load_file(folder / "adapter_model.safetensors").items():
        assert name.startswith("base_model.model.")
        parts = name.removeprefix("base_model.model.").split(".")
        assert parts[-1] == "weight"
        assert parts[-2] in ("lora_A", "lora_B")
        pairs.setdefault(".".join(parts[:-2]), {})[parts[-2]] = tensor
    changes = {}
    for module, pair in pairs.items():
        rank = by_pattern(settings.get("rank_pattern") or {}, module, settings["r"])
        alpha = by_pattern(settings.get("alpha_pattern") or {}, module, settings["lora_alpha"])
        assert len(pair["lora_A"]) == pair["lora_B"].shape[1] == rank <= settings["r"]
        scale = alpha / (rank**0.5 if settings["use_rslora"] else rank)
        changes[module] = scale * pair["lora_B"] @ pair["lora_A"]
    return changes


@pytest.mark.parametrize("method", ["lora[r=4,alpha=12]", "lora[r=4,rslora=true]"])
@pytest.mark.parametrize("sites", ["attn.q|attn.v", ALL, "attn.out"])
@pytest.mark.parametrize("name", SERVED)
def test_a_server_finds_and_adds_what_was_trained(name, sites, method, tmp_path):
    model = adapt(tiny(name, AutoModelForCausalLM), f"{method[:-1]},sites={sites}]")
    randomize(model)
    save_adapter(model, tmp_path / "a")
    found = served(tmp_path / "a", max_lora_rank=16)
    assert {module.rpartition(".")[2] for module in found} <= SERVED[name]
    base = model.get_base_model()
    before = {path: base_modules(base)[path].weight.clone() for path in found}
    model.merge_adapter()
    for path, change in found.items():
        merged = base_modules(base)[path].weight
        change = change.T if name == "gpt2" else change  # Conv1D is (in, out)
        torch.testing.assert_close(merged, before[path] + change, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["phi3", "gpt2"])
def test_packed_projections_are_the_same_in_peft_and_here(name, tmp_path):
    model = adapt(tiny(name, AutoModelForCausalLM), f"lora[r=4,sites={ALL}]")
    randomize(model)
    save_adapter(model, tmp_path / "a")
    settings = json.loads((tmp_path / "a/adapter_config.json").read_text())
    assert settings["r"] == 12
    assert set(settings["rank_pattern"].values()) <= {4, 8}
    with torch.no_grad():
        expected = model.eval()(**inputs(name)).logits
        theirs = peft.PeftModel.from_pretrained(tiny(name, AutoModelForCausalLM), tmp_path / "a")
        ours = load_adapter(tmp_path / "a", tiny(name, AutoModelForCausalLM))
        for again in (theirs.eval(), ours):
            torch.testing.assert_close(again(**inputs(name)).logits, expected)


def test_the_ranks_of_0_5_load(tmp_path):
    """There `r` was the method's, and each packed module had a pattern."""
    model = adapt(tiny("gpt2", AutoModelForCausalLM), "lora[r=4,sites=attn.q|attn.v|ffn.in]")
    randomize(model)
    save_adapter(model, tmp_path / "a")
    file = tmp_path / "a/adapter_config.json"
    settings = json.loads(file.read_text())
    packed = [f"transformer.h.{i}.attn.c_attn" for i in range(2)]
    settings |= {"r": 4, "lora_alpha": 8, "rank_pattern": dict.fromkeys(packed, 8)}
    settings |= {"alpha_pattern": dict.fromkeys(packed, 16)}
    file.write_text(json.dumps(settings))
    again = load_adapter(tmp_path / "a", tiny("gpt2", AutoModelForCausalLM))
    with torch.no_grad():
        expected = model.eval()(**inputs("gpt2")).logits
        torch.testing.assert_close(again(**inputs("gpt2")).logits, expected)


def test_ranks_that_the_weights_do_not_have_are_refused(tmp_path):
    save_adapter(adapt(tiny("llama", AutoModelForCausalLM), "lora[r=4]"), tmp_path / "a")
    file = tmp_path / "a/adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"r": 8, "lora_alpha": 16}))
    with pytest.raises(AdaptkitError, match="has rank 8.*the weights holds one of rank 4"):
        load_adapter(tmp_path / "a", tiny("llama", AutoModelForCausalLM))


def test_what_a_trainer_wrote_becomes_a_lora_of_peft(tmp_path):
    """`Trainer.save_model` knows no card, and keeps our names of tensors."""
    tiny("llama", AutoModelForCausalLM).save_pretrained(tmp_path / "base")
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    model = adapt(base, "lora[r=4,sites=attn.q|ffn.in]")
    randomize(model)
    arguments = TrainingArguments(str(tmp_path / "run"), use_cpu=True, report_to=[])
    Trainer(model, arguments).save_model(str(tmp_path / "run"))
    main(
        [
            *("export", str(tmp_path / "run"), "--format", "peft"),
            *("--output_dir", str(tmp_path / "lora")),
        ]
    )
    assert len(served(tmp_path / "lora", 8)) == 4
    theirs = peft.PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(tmp_path / "base"), tmp_path / "lora"
    )
    with torch.no_grad():
        expected = model.eval()(**inputs("llama")).logits
        torch.testing.assert_close(theirs.eval()(**inputs("llama")).logits, expected)


def test_what_peft_has_no_form_for_is_refused(tmp_path):
    tiny("llama").save_pretrained(tmp_path / "base")
    for method, problem in (("ia3", "adaptkit shrink"), ("peft:LOHA[r=2]", "own format already")):
        settings = "peft:LOHA[r=2,target_modules=q_proj]" if "LOHA" in method else method
        save_adapter(adapt(load_base(str(tmp_path / "base")), settings), tmp_path / method[:3])
        with pytest.raises(AdaptkitError, match=problem):
            export_peft(tmp_path / method[:3], tmp_path / "out")
