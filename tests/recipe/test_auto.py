"""Choices that are made where a user makes none."""

import dataclasses

import pytest

from adaptkit import AdaptkitError
from adaptkit.adapters.card import read_card
from adaptkit.methods.grammar import parse_method
from adaptkit.recipe.arguments import RecipeArguments
from adaptkit.recipe.auto import choose_method
from adaptkit.utils.json_files import write_json
from tests.helpers.minilm import make


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


def test_longer_texts_than_the_base_has_positions_for_are_cut(tmp_path, capsys):
    from adaptkit.recipes import classify

    with pytest.raises(AdaptkitError, match="leaves no room"):
        classify.main(["--max_seq_length", "0", "--output_dir", str(tmp_path / "x")])
    rows = "".join(f"{'word ' * (700 if i == 3 else 3)}{i},{'ab'[i % 2]}\n" for i in range(12))
    (tmp_path / "long.csv").write_text("text,label\n" + rows)
    flags = [
        "--train_file",
        str(tmp_path / "long.csv"),
        "--max_seq_length",
        "1000",
        "--output_dir",
        str(tmp_path / "out"),
    ]
    classify.main(
        [*flags, "--max_steps", "1", "--per_device_train_batch_size", "2", "--disable_tqdm", "true"]
    )
    assert "is lowered to that" in capsys.readouterr().out
