"""Which weights of the base train with --train: by name, in a recipe, and on disk."""

import json

import pytest
import torch
from adaptkit.recipes import classify
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification

from adaptkit import AdaptkitError, Predictor, Table, adapt, load_base, load_tokenizer
from adaptkit.adapters.full import trained, unfreeze
from adaptkit.training.regularization import depths
from tests.helpers.minilm import BASE, HEAD
from tests.helpers.small import CLASSIFY, flags
from tests.tiny import tiny


def test_parts_by_name(base):
    names = {name for name, _ in base.named_parameters()}
    assert trained(base, "full") == names
    assert trained(base, "head") == HEAD
    norms = trained(base, "norms")
    assert norms == HEAD | {name for name in names if "LayerNorm" in name}
    assert trained(base, "biases") == HEAD | {name for name in names if name.endswith("bias")}
    upper = trained(base, "last[2]")
    assert {name.split(".")[3] for name in upper if "layer." in name} == {"4", "5"}
    assert HEAD | {"bert.pooler.dense.weight"} <= upper
    assert not any("embeddings" in name for name in upper)


def test_unfreeze_trains_these_alone(base):
    unfreeze(base, "last[1]")
    assert {name for name, p in base.named_parameters() if p.requires_grad} == trained(
        base, "last[1]"
    )
    assert all(p.dtype == torch.float32 for p in base.parameters())


@pytest.mark.parametrize(
    ("what", "problem"), [("nroms", "norms"), ("last[9]", "6 layers"), ("last[0]", "6 layers")]
)
def test_what_makes_no_sense_is_refused(base, what, problem):
    with pytest.raises(AdaptkitError, match=problem):
        trained(base, what)
    with pytest.raises(AdaptkitError, match="no new head"):
        trained(tiny("bert"), "head")


@pytest.mark.parametrize("what", ["head", "norms", "biases", "last[2]", "full"])
def test_a_recipe_changes_what_it_trains_and_nothing_else(warm_rows_in_fp32, what):
    folder, flags = warm_rows_in_fp32
    out = folder / what
    classify.main([*flags, "--train", what, "--output_dir", str(out)])
    before = dict(load_base(BASE, task="classify", labels=2).named_parameters())
    model = load_base(BASE, task="classify", labels=2)
    names = trained(model, what)
    after = load_file(out / "model.safetensors")
    changed = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert changed - names == set()
    assert len(changed - HEAD) >= (
        0 if what == "head" else len(names - HEAD) - 8
    )  # key biases have no gradient
    results = json.loads((out / "all_results.json").read_text())
    assert results["trainable_parameters"] == sum(before[name].numel() for name in names)
    assert Predictor(out)("warm 3")[0]["label"] in ("good", "bad")


def test_behind_is_what_is_used_behind():
    deberta = tiny("deberta-v2", AutoModelForSequenceClassification, num_labels=2)
    assert not any(
        "rel_embeddings" in name or "encoder.LayerNorm" in name
        for name in trained(deberta, "last[1]")
    )
    opt = tiny("opt", AutoModelForSequenceClassification, num_labels=2)
    assert "model.decoder.final_layer_norm.weight" in trained(opt, "last[1]")
    assert depths(opt)["model.decoder.final_layer_norm.weight"] == 3
    unfreeze(opt, "last[1]")


def test_all_weights_train_and_come_back(small, tmp_path):
    words = [*CLASSIFY[:2], "--method", "full", "--max_steps", "3", "--max_seq_length", "64"]
    classify.main(flags(small, tmp_path / "out", *words))
    predictor = Predictor(tmp_path / "out")
    results = json.loads((tmp_path / "out/all_results.json").read_text())
    again = predictor.evaluate(
        Table([json.loads(line) for line in (small / "dev.jsonl").read_text().splitlines()], "x")
    )
    assert again["accuracy"] == pytest.approx(results["eval_accuracy"])
    base = load_base(str(small / "bert"), task="classify", labels=3)
    assert adapt(base, "lora")  # a whole model can be a base again
    assert load_tokenizer(str(tmp_path / "out")).vocab_size == 500
