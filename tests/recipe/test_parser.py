"""Flags: which follow which, and those of the example scripts."""

import dataclasses

import pytest
from transformers import TrainingArguments

from adaptkit import AdaptkitError
from adaptkit.recipe.arguments import StudentArguments
from adaptkit.recipe.parser import ELSEWHERE, make_parser, parse_recipe, recipe_flags
from adaptkit.tasks.classify import Classify
from adaptkit.tasks.registry import find_task
from adaptkit.training.defaults import DEFAULTS


@pytest.mark.parametrize(
    "name, hidden",
    [
        ("classify", set()),
        ("relate", set()),
        ("score", {"unlabelled_file"}),
        ("decide", {"unlabelled_file", "head_start"}),
        ("chat", {"unlabelled_file", "head_start"}),
    ],
)
def test_help_leaves_out_what_a_task_has_no_use_for(name, hidden):
    flags = recipe_flags(find_task(name))
    assert {flag for flag, one in flags.items() if one.hidden} == hidden
    shown = make_parser(flags, "").format_help()
    assert {flag for flag in flags if f"--{flag} " not in shown} == hidden
    assert not recipe_flags(find_task("score"), StudentArguments)["unlabelled_file"].hidden


def test_flags_that_hang_together_follow_the_one_that_is_given(tmp_path):
    make = parse_recipe(Classify, ["--eval_strategy", "no"], "").make_training
    training = make(**DEFAULTS, output_dir=str(tmp_path), use_cpu=True)
    assert (training.save_strategy, training.load_best_model_at_end) == ("epoch", False)
    make = parse_recipe(
        Classify, ["--eval_strategy", "steps", "--eval_steps", "5", "--save_steps", "5"], ""
    ).make_training
    training = make(
        **DEFAULTS | {"load_best_model_at_end": False}, output_dir=str(tmp_path), use_cpu=True
    )
    assert (training.save_strategy, training.load_best_model_at_end) == ("steps", False)
    for words, judged, saved, best in (
        ("--save_strategy no", ("epoch", None), "no", False),
        ("--save_strategy=steps --save_steps=7", ("steps", 7), ("steps", 7), True),
        ("--eval_strategy steps --eval_steps 7", ("steps", 7), ("steps", 7), True),
        ("--save-strategy steps --save-steps 7", ("steps", 7), ("steps", 7), True),
        ("--eval_strategy steps", ("steps", 10), ("steps", 10), True),
        (
            "--save_strategy steps --save_steps 7 --load_best_model_at_end false",
            ("epoch", None),
            ("steps", 7),
            False,
        ),
        ("--save_strategy best", ("epoch", None), "best", True),
    ):
        training = parse_recipe(Classify, words.split(), "").make_training(
            **DEFAULTS, output_dir=str(tmp_path), use_cpu=True
        )
        assert (training.eval_strategy, training.eval_steps) == judged
        assert saved in (training.save_strategy, (training.save_strategy, training.save_steps))
        assert training.load_best_model_at_end is best
    for words in (
        "--save_strategy no --load_best_model_at_end true",
        "--eval_strategy epoch --save_strategy steps",
    ):
        make = parse_recipe(Classify, words.split(), "").make_training
        with pytest.raises(AdaptkitError, match="contradict each other"):
            make(**DEFAULTS, output_dir=str(tmp_path), use_cpu=True)


@pytest.mark.parametrize(
    "words, message",
    [
        (["--token", "abc"], "--token is no flag here: set HF_TOKEN"),
        (
            ["--pad-to-max-length"],
            "--pad_to_max_length is no flag here: a batch is padded to its longest row",
        ),
        (["--do_eval"], "recipes always train; adaptkit evaluate"),
        (["--do_train", "false", "--do_predict"], "recipes always train; adaptkit evaluate"),
        (["--learning_rat", "1"], "did you mean '--learning_rate'"),
    ],
)
def test_flags_of_the_example_scripts_are_answered(tmp_path, words, message):
    with pytest.raises(AdaptkitError, match=message):
        parse_recipe(Classify, words, "").make_training(
            **DEFAULTS, output_dir=str(tmp_path), use_cpu=True
        )
    assert (
        parse_recipe(Classify, ["--do_train", "--do_eval"], "")
        .make_training(output_dir=str(tmp_path), use_cpu=True)
        .do_train
    )
    assert not ELSEWHERE.keys() & (
        {item.name for item in dataclasses.fields(TrainingArguments)} | set(recipe_flags(Classify))
    )


def test_a_flag_may_have_hyphens():
    parsed = parse_recipe(Classify, ["--train-file=a-b.csv", "--text-column", "my-text"], "")
    assert parsed.arguments.train_file == "a-b.csv"
    assert parsed.columns == {"text": "my-text"}
    assert parsed.given == {"train_file", "text_column"}
