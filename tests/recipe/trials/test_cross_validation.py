"""Folds and seeds: each run, their mean and their spread."""

import json

import pytest
from adaptkit.recipes import classify

from adaptkit import AdaptkitError
from adaptkit.recipe.trials.cross_validation import summarize
from tests.helpers.rows import TWO_STEPS
from tests.helpers.small import CLASSIFY, flags


@pytest.mark.slow
def test_folds_and_seeds_have_a_mean_and_a_spread(small, tmp_path):
    same = [*CLASSIFY, "--max_steps", "3", "--per_device_train_batch_size", "8"]
    classify.main(flags(small, tmp_path / "folds", *same, "--folds", "3"))
    classify.main(flags(small, tmp_path / "seeds", *same, "--seeds", "1", "2"))
    for kind, names in (("folds", ["fold-1", "fold-2", "fold-3"]), ("seeds", ["seed-1", "seed-2"])):
        summary = json.loads((tmp_path / kind / "all_results.json").read_text())
        each = [
            json.loads((tmp_path / kind / name / "all_results.json").read_text()) for name in names
        ]
        assert summary["runs"] == names
        assert summary["eval_accuracy"] == pytest.approx(
            sum(run["eval_accuracy"] for run in each) / len(each)
        )
        assert (tmp_path / kind / names[1] / "adapter_model.safetensors").is_file()
    sizes = [
        run["eval_samples"]
        for run in (
            json.loads((tmp_path / f"folds/fold-{i}/all_results.json").read_text())
            for i in (1, 2, 3)
        )
    ]
    assert sum(sizes) == 64  # training and validation rows together
    for more, message in (
        (["--folds", "1"], "2 or more"),
        (["--folds", "2", "--seeds", "1"], "not both"),
        (["--search", "1"], "2 trials"),
    ):
        with pytest.raises(AdaptkitError, match=message):
            classify.main(flags(small, tmp_path / "no", *same, *more))


def test_the_mean_of_runs():
    assert summarize([{"a": 1.0, "b": "x"}, {"a": 3.0, "b": "y"}]) == {
        "a": 2.0,
        "a_std": pytest.approx(2**0.5),
    }


def test_folds_are_evaluated_by_their_own_rows(tmp_path, bert, rows, capsys):
    flags = [
        "--train_file",
        rows,
        "--model_name_or_path",
        bert,
        "--folds",
        "2",
        "--validation_split_percentage",
        "0",
        *TWO_STEPS[:-2],
    ]
    classify.main([*flags, "--bf16", "false", "--output_dir", str(tmp_path / "out")])
    assert "20 validation rows are too few" in capsys.readouterr().out
    assert "eval_accuracy" in json.loads((tmp_path / "out/all_results.json").read_text())
