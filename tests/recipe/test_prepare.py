"""Few rows, fewer rows, and no validation rows."""

import json

import pytest
import torch
from adaptkit.recipes import classify
from safetensors.torch import load_file

from adaptkit import AdaptkitError, Predictor
from adaptkit.cli import main
from adaptkit.recipe.parser import parse_recipe
from adaptkit.recipe.prepare import prepare
from adaptkit.tasks.classify import Classify
from adaptkit.tasks.pretrain import Pretrain
from tests.helpers.files import write
from tests.helpers.rows import TWO_STEPS


def test_without_validation_rows_every_row_trains_and_the_last_epoch_is_kept(
    tmp_path, bert, rows, capsys
):
    flags = [
        "--train_file",
        rows,
        "--model_name_or_path",
        bert,
        "--validation_split_percentage",
        "0",
        "--bf16",
        "false",
    ]
    flags += ["--max_predict_samples", "5"]
    classify.main(
        [
            *flags,
            "--num_train_epochs",
            "1",
            "--disable_tqdm",
            "true",
            "--output_dir",
            str(tmp_path / "out"),
        ]
    )
    said = capsys.readouterr().out
    assert "no validation rows" in said
    assert "note: --max_predict_samples: there are no test rows" in said
    found = json.loads((tmp_path / "out/all_results.json").read_text())
    assert found["train_samples"] == 40
    assert not [name for name in found if name.startswith(("eval_", "test_"))]
    assert "The last epoch was kept" in (tmp_path / "out/README.md").read_text()
    assert Predictor(tmp_path / "out")("I love it.")[0]["label"] in (
        "negative",
        "neutral",
        "positive",
    )
    main(["check", "classify", *flags])
    assert "one save and load gave the same weights" in capsys.readouterr().out


def test_fewer_rows_are_used_where_that_is_asked_for(tmp_path, bert, rows, capsys):
    same = [
        "--train_file",
        rows,
        "--model_name_or_path",
        bert,
        "--validation_split_percentage",
        "25",
        "--test_file",
        rows,
        *TWO_STEPS,
    ]
    most = ["--max_train_samples", "12", "--max_eval_samples", "5", "--max_predict_samples", "99"]
    classify.main([*same, *most, "--output_dir", str(tmp_path / "few")])
    said = capsys.readouterr().out
    assert "12 of 30 train rows are used" in said
    assert "5 of 10 validation rows are used" in said
    found = json.loads((tmp_path / "few/all_results.json").read_text())
    assert (found["train_samples"], found["eval_samples"], found["test_samples"]) == (12, 5, 40)


def test_with_few_validation_rows_the_last_epoch_is_kept(tmp_path, bert, rows):
    """Four rows tell no epoch from another, and of equal ones the first would be kept, which has
    learned least.
    """
    flags = [
        "--train_file",
        rows,
        "--model_name_or_path",
        bert,
        "--bf16",
        "false",
        "--disable_tqdm",
        "true",
    ]
    flags += ["--num_train_epochs", "3", "--learning_rate", "1e-6", "--save_total_limit", "9"]
    for name, step, more in (
        ("last", 9, []),  # 36 rows in batches of 16
        ("best", 3, ["--load_best_model_at_end", "true"]),
        ("named", 3, ["--metric_for_best_model", "f1"]),
        (
            "plateau",
            3,
            ["--lr_scheduler_type", "reduce_lr_on_plateau"],
        ),  # it watches the validation rows
    ):
        classify.main([*flags, *more, "--output_dir", str(tmp_path / name)])
        folders = (tmp_path / name, tmp_path / name / f"checkpoint-{step}")
        heads = [
            load_file(folder / "adapter_model.safetensors")["base_model.model.score.weight"]
            for folder in folders
        ]
        assert torch.equal(*heads)


@pytest.mark.parametrize(
    "words, message",
    [
        ("--fp16 true", "--fp16 needs a GPU; leave it out here"),
        ("--learning_rate inf", "--learning_rate is a finite number; it got inf"),
        ("--head_learning_rate 0", "--head_learning_rate is more than 0; it got 0. Leave it out"),
        ("--head_learning_rate=-0.1", "--head_learning_rate is more than 0; it got -0.1. Leave"),
        ("--head_learning_rate nan", "--head_learning_rate is more than 0; it got nan. Leave it"),
        ("--weight_decay nan", "--weight_decay is a finite number; it got nan"),
    ],
)
def test_flags_that_no_training_can_have_are_refused_before_it(rows, words, message):
    with pytest.raises(AdaptkitError, match=message):
        prepare(parse_recipe(Classify, ["--train_file", rows, "--check", *words.split()], ""))


def test_training_says_what_a_check_says_about_labels(tmp_path, capsys):
    lines = [f"a text {i},{('red', 'Red', 'blue')[i % 3]}" for i in range(30)]
    path = write(tmp_path / "rows.csv", "\n".join(["text,label", *lines]))
    prepare(
        parse_recipe(Classify, ["--train_file", str(path), "--output_dir", str(tmp_path / "o")], "")
    )
    said = capsys.readouterr().out.splitlines()
    assert "warning: the labels 'Red', 'red' differ in nothing but case or blanks" in said


@pytest.mark.parametrize(
    "flags, base",
    [
        (["--objective", "clm"], "SmolLM2-135M-Instruct"),
        (["--objective", "clm", "--model_type", "llama"], None),
        (["--objective", "clm", "--model_name_or_path", "untrained"], None),
        (["--objective", "mlm"], None),
        ([], None),
    ],
)
def test_the_next_token_is_learned_over_a_small_decoder(flags, base, tmp_path):
    prepared = prepare(parse_recipe(Pretrain, [*flags, "--output_dir", str(tmp_path / "o")], ""))
    assert prepared.arguments.model_name_or_path == base
    assert prepared.arguments.method == ("full" if base is None else "lora")
