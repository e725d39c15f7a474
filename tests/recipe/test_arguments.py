"""Flags that cannot work, alone or together, are refused."""

import pytest
from adaptkit.recipes import classify, score

from adaptkit import AdaptkitError


@pytest.mark.parametrize(
    "recipe, words, message",
    [
        (
            classify,
            ["--validation_split_percentage", "51"],
            "--validation_split_percentage is 0 to 50, not 51",
        ),
        (
            classify,
            ["--early_stopping_patience", "2", "--eval_strategy", "no"],
            "--early_stopping_patience needs evaluations",
        ),
        (
            classify,
            ["--validation_split_percentage", "0", "--early_stopping_patience", "2"],
            "need validation rows",
        ),
        (
            classify,
            ["--validation_split_percentage", "0", "--load_best_model_at_end", "true"],
            "contradict each other",
        ),
        (classify, ["--validation_split_percentage", "0", "--search", "2"], "need validation rows"),
        (
            classify,
            ["--validation_split_percentage", "0", "--eval_strategy", "epoch"],
            "need validation rows",
        ),
        (
            classify,
            ["--method", "full", "--quantize", "nf4"],
            "those of --quantize nf4 cannot be trained",
        ),
        (
            classify,
            ["--metric_for_best_model", "acuracy"],
            "unknown --metric_for_best_model 'acuracy'; did you mean 'accuracy'",
        ),
        (classify, ["--metric_for_best_model", "eval_rouge1"], "Known: accuracy, ece, f1"),
        (classify, ["--search", "2", "--metric_for_best_model", "recal"], "did you mean 'recall'"),
        (
            classify,
            ["--folds", "2", "--max_eval_samples", "5"],
            "--max_eval_samples does not go with --folds",
        ),
        (
            classify,
            ["--folds", "2", "--search", "2", "--validation_split_percentage", "0"],
            "--search scores trials by validation rows",
        ),
        (classify, ["--max_train_samples", "0"], "--max_train_samples is 1 or more, not 0"),
        (
            classify,
            ["--max_steps", "-5"],
            "--max_steps is 1 or more, or -1",
        ),
        (
            classify,
            ["--text_column", "label"],
            "--text_column and --label_column are both 'label'",
        ),
        (classify, ["--learning_rate", "-1"], "--learning_rate is more than 0; it got -1"),
        (
            classify,
            ["--per_device_train_batch_size", "0"],
            "--per_device_train_batch_size is more than 0; it got 0",
        ),
        (classify, ["--num_train_epochs", "0"], "--num_train_epochs is more than 0; it got 0"),
        (
            score,
            ["--label_smoothing_factor", "0.1"],
            "--label_smoothing_factor does not go with score",
        ),
    ],
)
def test_flags_that_cannot_work_are_refused(tmp_path, bert, rows, recipe, words, message):
    with pytest.raises(AdaptkitError, match=message):
        recipe.main(
            [
                "--train_file",
                rows,
                "--model_name_or_path",
                bert,
                "--output_dir",
                str(tmp_path / "o"),
                *words,
            ]
        )


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        (["--train", "head", "--fuse", "a", "b"], "own weights"),
        (["--train", "full", "--warm_start", "a"], "own weights"),
        (["--method", "ia3", "--fuse", "a", "b"], "leave --method ia3 out"),
    ],
)
def test_flags_that_do_not_go_together(warm_rows, flags, problem):
    folder, files = warm_rows
    with pytest.raises(AdaptkitError, match=problem):
        classify.main([*files, *flags, "--output_dir", str(folder / "refused")])
    assert not (folder / "refused").exists()
