"""Adapters of AdapterHub's library answer after conversion as they did there, or are refused.

The folders and answers were made by that library: `tests/golden/make_adapterhub.py`.
"""

import json
import shutil
from pathlib import Path

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel

from adaptkit import AdaptkitError, load_adapter, load_base, read_card
from adaptkit.adapters.adapterhub.convert import convert
from adaptkit.cli import main

MADE = Path(__file__).parents[2] / "data/adapterhub"
EXPECTED = load_file(MADE / "expected.safetensors")
IDS = EXPECTED.pop("ids").long()
METHODS = {
    "seq_bn": "bottleneck[activation=relu,placement=pfeiffer,reduction=4.0,scale=1.0]",
    "two_widths": "bottleneck[activation=gelu,reduction=8.0,scale=1.0,sites=attn.out]"
    "+bottleneck[activation=tanh,reduction=4.0,scale=1.0,sites=ffn.out]",
    "wide": "bottleneck[activation=relu,layers=0,placement=parallel,reduction=0.5,scale=1.0]",
    "lora": "lora[alpha=7.0,r=3,sites=attn.q|attn.v|ffn.in|ffn.out]",
    "ia3": "ia3",
    "prefix_mlp": "prefix[length=2]",
    "mam": "prefix[length=2]"
    "+bottleneck[activation=relu,placement=parallel,reduction=4.0,scale=4.0]",
}


def base_of(name: str) -> str:
    return str(MADE / json.loads((MADE / name / "adapter_config.json").read_text())["model_name"])


def answers(folder: Path) -> torch.Tensor:
    with torch.no_grad():
        outputs = load_adapter(folder)(input_ids=IDS)
    return outputs["logits"] if "logits" in outputs else outputs[0]


def same(one: torch.Tensor, other: torch.Tensor) -> None:
    torch.testing.assert_close(one, other, atol=1e-5, rtol=0)


@pytest.fixture
def edited(tmp_path):
    """A copy of a folder with other settings and other tensors."""

    def edit(name: str, tensors=None, whole=None, **settings) -> Path:
        folder = tmp_path / "edited"
        shutil.copytree(MADE / name, folder)
        content = json.loads((folder / "adapter_config.json").read_text())
        content["config"] |= settings
        (folder / "adapter_config.json").write_text(json.dumps(content | (whole or {})))
        if tensors:
            file = folder / "adapter.safetensors"
            save_file(tensors(load_file(file)), file)
        return folder

    return edit


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_golden(name, tmp_path):
    converted = convert(MADE / name, tmp_path / "out", base_of(name))
    assert converted.notes == []
    assert converted.method == METHODS.get(name, converted.method)
    same(answers(tmp_path / "out"), EXPECTED[name])
    plain = load_base(base_of(name))(input_ids=IDS)[0]
    assert plain.shape != EXPECTED[name].shape or (plain - EXPECTED[name]).abs().max() > 0.1


def test_all_cases_are_there():
    assert len(EXPECTED) == 27
    assert METHODS.keys() <= EXPECTED.keys()


def test_a_state_dict_is_read_without_unpickling(tmp_path):
    convert(MADE / "state_dict", tmp_path / "out", base_of("state_dict"))
    same(answers(tmp_path / "out"), EXPECTED["seq_bn"])


def test_names_of_version_1(edited, tmp_path):
    old = {".output.adapters.": ".output.layer_text_task_adapters."}

    def rename(tensors):
        return {key.replace(*pair): t for key, t in tensors.items() for pair in old.items()}

    folder = edited("seq_bn", rename, inv_adapter="nice", whole={"type": "text_task"})
    convert(folder, tmp_path / "out", base_of("seq_bn"))
    same(answers(tmp_path / "out"), EXPECTED["seq_bn"])


def test_lora_of_versions_that_did_not_scale(edited, tmp_path):
    folder = edited("lora", alpha=100, whole={"version": "adapters.1.0.1"})
    assert "alpha=3.0" in convert(folder, tmp_path / "old", base_of("lora")).method
    folder = folder.rename(tmp_path / "renamed")
    content = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(content | {"version": "3.2.1"}))
    assert "alpha=100.0" in convert(folder, tmp_path / "older", base_of("lora")).method


@pytest.mark.parametrize("name", ["lora", "lora_gpt2", "lora_bart"])
def test_peft_loads_converted_lora(name, tmp_path):
    convert(MADE / name, tmp_path / "out", base_of(name))
    model = peft.PeftModel.from_pretrained(
        AutoModel.from_pretrained(base_of(name)), str(tmp_path / "out")
    )
    with torch.no_grad():
        same(model.eval()(input_ids=IDS)[0], EXPECTED[name])


@pytest.mark.parametrize(
    "name, task, settings",
    [
        ("head_two_layers", "classify", {}),
        ("head_of_transformers", "classify", {}),
        ("head_multilabel", "classify", {"multi_label": True}),
        ("head_tagging", "tag", {}),
    ],
)
def test_the_card_has_task_and_labels(name, task, settings, tmp_path):
    convert(MADE / name, tmp_path / "out", base_of(name))
    card = read_card(tmp_path / "out")
    assert (card.task, card.labels, card.settings) == (task, ["no", "yes", "maybe"], settings)
    labels = load_adapter(tmp_path / "out").get_base_model().config.id2label
    assert labels == {0: "no", 1: "yes", 2: "maybe"}


@pytest.mark.parametrize(
    "change, reason",
    [
        ({"activation_function": "relu"}, "no model of transformers computes the same"),
        ({"head_type": "masked_lm"}, "adaptkit has no task for it"),
    ],
)
def test_other_heads_are_left_out_with_a_note(change, reason, tmp_path):
    folder = shutil.copytree(MADE / "head_two_layers", tmp_path / "in")
    content = json.loads((folder / "head_config.json").read_text())
    content["config"] |= change
    (folder / "head_config.json").write_text(json.dumps(content))
    converted = convert(folder, tmp_path / "out", base_of("head_two_layers"))
    assert converted.task is None
    assert reason in converted.notes[0]
    assert answers(tmp_path / "out").shape == (2, 6, 16)


@pytest.mark.parametrize(
    "name, settings, reason",
    [
        ("seq_bn", {"phm_layer": True}, "Compacter"),
        ("seq_bn", {"use_gating": True}, "gated by the mean over a sentence"),
        ("seq_bn", {"ln_before": True}, "a norm of its own before the bottleneck"),
        ("seq_bn", {"ln_after": True}, "a norm of its own behind the bottleneck"),
        ("seq_bn", {"residual_before_ln": False}, "residual_before_ln is False"),
        ("seq_bn", {"residual_before_ln": "post_add"}, "residual_before_ln is 'post_add'"),
        ("seq_bn", {"original_ln_after": False}, "without the norm and residual"),
        ("seq_bn", {"inv_adapter": "nice"}, "lack the invertible adapters"),
        ("seq_bn", {"mh_adapter": True}, "lack the bottleneck behind attn.out"),
        ("seq_bn", {"non_linearity": "prelu"}, "a weight of its own"),
        ("seq_bn", {"non_linearity": "rellu"}, "unknown activation"),
        ("seq_bn", {"reduction_factor": 8}, "has the shape"),
        ("seq_bn", {"reduction_factor": "many"}, "reduction_factor is 'many'"),
        ("seq_bn", {"leave_out": [1]}, "which its configuration does not name"),
        ("seq_bn", {"scaling": "learned"}, "'scaling' of encoder.layer.0 is missing"),
        ("seq_bn", {"architecture": "reft"}, "its architecture is 'reft'"),
        ("seq_bn_leave_out", {"leave_out": []}, "lack the bottleneck behind ffn.out"),
        ("double_seq_bn", {"original_ln_before": True}, "pfeiffer bottlenecks at the attention"),
        ("double_seq_bn_bart", {"leave_out": [0]}, "which its configuration does not name"),
        ("lora", {"use_dora": True}, "DoRA"),
        ("lora", {"vera_d": 0.1}, "VeRA"),
        ("lora", {"use_gating": True}, "gated by the mean"),
        ("lora", {"r": 4}, "has 3 rows, r is 4"),
        ("lora", {"attn_matrices": ["q", "k", "v"]}, "its weights lack attn.k"),
        ("lora", {"composition_mode": "scale"}, "has the weights lora_A, lora_B"),
        ("ia3_gpt2", {"alpha": 2}, "its alpha scales the parts"),
        ("prefix_flat", {"prefix_length": 4}, "holds 192 numbers"),
        ("prefix_flat", {"use_gating": True}, "gated by the mean"),
    ],
)
def test_other_formulas_are_refused_with_the_reason(name, settings, reason, edited, tmp_path):
    with pytest.raises(AdaptkitError, match=reason):
        convert(edited(name, **settings), tmp_path / "out", base_of(name))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "change, reason",
    [
        ({"model_type": "t5"}, "its base has the model_type 't5', this one has 'bert'"),
        ({"hidden_size": 32}, "its base has the hidden_size 32"),
        ({"model_type": "modernbert"}, "a random bias"),
        ({"name": "other"}, "belongs to no adapter called 'other'"),
        ({"config": "pfeiffer"}, "config should be an object"),
        ({"peft_type": "LORA"}, "it is PEFT's"),
    ],
)
def test_other_folders_are_refused(change, reason, edited, tmp_path):
    with pytest.raises(AdaptkitError, match=reason):
        convert(edited("seq_bn", whole=change), tmp_path / "out", base_of("seq_bn"))


@pytest.mark.parametrize(
    "change, reason",
    [
        (lambda t: dict(list(t.items())[1:]), "is missing, or belongs nowhere"),
        (lambda t: t | {"x.adapters.task.adapter_up.bias": torch.ones(16)}, "no layer for"),
        (lambda t: {key: tensor / 0 for key, tensor in t.items()}, "no tensor of finite numbers"),
        (lambda t: {key: tensor.int() for key, tensor in t.items()}, "no tensor of finite numbers"),
    ],
)
def test_broken_weights_are_refused(change, reason, edited, tmp_path):
    with pytest.raises(AdaptkitError, match=reason):
        convert(edited("seq_bn", change), tmp_path / "out", base_of("seq_bn"))


def test_a_pickle_of_anything_else_is_not_run(tmp_path):
    class Runs:
        def __reduce__(self):
            return Path.touch, (tmp_path / "was_run",)

    folder = shutil.copytree(MADE / "state_dict", tmp_path / "in")
    torch.save({"weight": Runs()}, folder / "pytorch_adapter.bin")
    with pytest.raises(AdaptkitError, match="not a whole file of weights"):
        convert(folder, tmp_path / "out", base_of("state_dict"))
    assert not (tmp_path / "was_run").exists()


def test_load_adapter_names_the_command():
    with pytest.raises(AdaptkitError, match="adaptkit convert .*seq_bn --output_dir"):
        load_adapter(MADE / "seq_bn", load_base(base_of("seq_bn")))


def test_command(tmp_path, capsys):
    out = tmp_path / "out"
    words = ["--base", base_of("head_pooler"), "--output_dir", str(out)]
    main(["convert", str(MADE / "head_pooler"), *words])
    assert f"for classify (no, yes, maybe) is in {out}" in capsys.readouterr().out
    same(answers(out), EXPECTED["head_pooler"])
