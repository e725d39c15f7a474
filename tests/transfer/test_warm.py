"""A warm start takes every weight but a head for other labels, refuses what does not fit, and works
from a recipe.
"""

import dataclasses
import json

import pytest
import torch
from adaptkit.recipes import classify
from safetensors.torch import load_file

from adaptkit import AdaptkitError, adapt, load_base
from adaptkit.adapters.card import read_card
from adaptkit.adapters.tensors import adapter_tensors
from adaptkit.adapters.warm_start import warm_start
from adaptkit.methods.grammar import parse_method
from adaptkit.recipe.arguments import RecipeArguments
from adaptkit.recipe.auto import choose_method
from adaptkit.utils.json_files import write_json
from tests.transfer.test_combine import BASE, LORA, make


def fresh(labels=("no", "yes"), method=LORA):
    return adapt(load_base(BASE, task="classify", labels=list(labels)), method)


@pytest.mark.parametrize("method", [LORA, "bottleneck+prefix[length=3]"])
def test_all_weights_but_another_head_are_taken(tmp_path, method):
    stored = make(tmp_path, "stored", method)
    same = fresh(method=method)
    assert warm_start(same, stored, ["no", "yes"]) == []
    other = fresh(("a", "b", "c"), method)
    before = {key: tensor.clone() for key, tensor in adapter_tensors(other, "default").items()}
    left = warm_start(other, stored, ["a", "b", "c"])
    assert len(left) == 2
    taken = adapter_tensors(same, "default")
    for key, tensor in adapter_tensors(other, "default").items():
        assert torch.equal(tensor, before[key] if key in left else taken[key])
        assert key in left or not torch.equal(tensor, before[key])


def test_the_same_labels_in_another_order_are_another_head(tmp_path):
    assert len(warm_start(fresh(("yes", "no")), make(tmp_path, "stored"), ["yes", "no"])) == 2


def test_what_does_not_fit_is_refused_and_changes_nothing(tmp_path):
    stored = make(tmp_path, "stored")
    model = fresh(method="lora[r=2,sites=attn.q|attn.v]")
    before = {key: tensor.clone() for key, tensor in adapter_tensors(model, "default").items()}
    with pytest.raises(AdaptkitError, match="use the same"):
        warm_start(model, stored)
    with torch.no_grad():
        model.get_base_model().bert.encoder.layer[0].output.dense.weight.mul_(2)
    assert all(
        torch.equal(tensor, before[key])
        for key, tensor in adapter_tensors(model, "default").items()
    )
    (stored / "task.json").unlink()
    with pytest.raises(AdaptkitError, match="made by adaptkit"):
        warm_start(fresh(), stored)


def test_a_recipe_starts_warm(tmp_path, capsys):
    rows = [
        {"text": f"{word} {i}", "label": label}
        for i in range(12)
        for word, label in (("warm", "good"), ("cold", "bad"))
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    flags = [
        "--train_file",
        str(tmp_path / "rows.jsonl"),
        "--method",
        LORA,
        "--disable_tqdm",
        "true",
    ]
    classify.main(
        [
            *flags,
            "--output_dir",
            str(tmp_path / "first"),
            "--num_train_epochs",
            "6",
            "--learning_rate",
            "1e-2",
        ]
    )
    again = [
        *flags,
        "--warm_start",
        str(tmp_path / "first"),
        "--num_train_epochs",
        "1",
        "--learning_rate",
        "1e-6",
    ]
    classify.main([*again, "--output_dir", str(tmp_path / "second")])
    assert "warm start from" in capsys.readouterr().out
    first, second = (
        load_file(tmp_path / name / "adapter_model.safetensors") for name in ("first", "second")
    )
    assert first.keys() == second.keys()
    for key, value in second.items():
        assert 0 < (value - first[key]).abs().max() < 1e-4
    with pytest.raises(AdaptkitError, match="--warm_start are for adapters"):
        classify.main([*again, "--method", "full", "--output_dir", str(tmp_path / "third")])


def test_without_a_method_it_is_that_of_the_adapter(tmp_path):
    given = RecipeArguments(
        warm_start=str(make(tmp_path, "stored", "bottleneck[placement=pfeiffer]"))
    )
    assert parse_method(choose_method(given)) == parse_method("bottleneck[placement=pfeiffer]")
    assert (
        choose_method(RecipeArguments(warm_start=given.warm_start, method="ia3")) == "ia3"
    )  # refused when weights are read
    card = read_card(tmp_path / "stored")
    write_json(
        tmp_path / "stored/task.json", dataclasses.asdict(dataclasses.replace(card, method="full"))
    )
    with pytest.raises(AdaptkitError, match="whole model: --model_name_or_path takes it"):
        choose_method(given)
    with pytest.raises(AdaptkitError, match="there is no adapter folder"):
        choose_method(RecipeArguments(warm_start=str(tmp_path / "nothing")))
    assert choose_method(RecipeArguments()) == "lora"
