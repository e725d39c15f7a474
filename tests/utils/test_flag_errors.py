"""What a wrong command line says: a sentence with the nearest flag, and no usage."""

import pytest

from adaptkit import AdaptkitError
from adaptkit.cli import main
from adaptkit.recipe.parser import parse_recipe
from adaptkit.tasks.classify import Classify
from adaptkit.training.defaults import DEFAULTS

PREDICT = ["predict", "runs/x", "hi"]


@pytest.mark.parametrize(
    "words, message",
    [
        ([*PREDICT, "--theshold", "0.5"], "unknown flag '--theshold'; did you mean '--threshold'?"),
        ([*PREDICT, "--theshold=0.5"], "unknown flag '--theshold'; did you mean '--threshold'?"),
        ([*PREDICT, "--batch-sizes", "3"], "unknown flag '--batch_sizes'; did you mean '--batch_"),
        ([*PREDICT, "--batch_size", "0"], "--batch_size takes a whole number, 1 or more, not '0'."),
        ([*PREDICT, "--threshold", "half"], "--threshold takes a number, not 'half'."),
        ([*PREDICT, "--with_input=3"], "--with_input takes no value; it got '3'."),
        ([*PREDICT, "--format"], "--format needs a value; see --help."),
        (["predict"], "missing: folder, text; see --help."),
        (["evaluate", "runs/x"], "missing: --file; see --help."),
        (
            ["evaluate", "runs/x", "--file", "y", "--by", "a", "--confusions", "3"],
            "--confusions and --by do not go together.",
        ),
        (["show", "runs/x", "more"], "unexpected word 'more' on the command"),
        (["evaluat", "runs/x"], "unknown command 'evaluat'; did you mean 'evaluate'? Known: che"),
        (["combine", "a", "--weights", "x", "--output_dir", "o"], "--weights takes a number, not"),
        (["list", "--x" * 9999], "unknown flag '--x"),
    ],
)
def test_a_wrong_command_is_answered_in_a_sentence(words, message):
    with pytest.raises(AdaptkitError) as error:
        main(words)
    assert str(error.value).startswith(message)
    assert len(str(error.value)) < 250


@pytest.mark.parametrize(
    "words, message",
    [
        ("--learning_rate abc", "--learning_rate takes a number, not 'abc'."),
        ("--learning_rate", "--learning_rate needs a value; see --help."),
        ("--seed 1.5", "--seed takes a whole number, not '1.5'."),
        ("--bf16 maybe", "--bf16 takes true or false, not 'maybe'."),
        ("--eval_strategy epochs", "unknown value of --eval_strategy 'epochs'; did you mean 'epo"),
        ("--max_seq_length abc", "--max_seq_length takes a whole number, not 'abc'."),
        ("--multi_label maybe", "--multi_label takes true or false, not 'maybe'."),
        ("--group_by_length", "--group_by_length is no flag here: texts of like length share a ba"),
        ("--group_by_length true", "--group_by_length is no flag here: texts of like length share"),
        ("--lr 1e-3", "--lr is no flag here: --learning_rate is its name."),
        ("--labl_column x", "unknown flag '--labl_column'; did you mean '--label_column'? See --h"),
    ],
)
def test_a_wrong_flag_of_a_recipe_is_answered_in_a_sentence(words, message, tmp_path):
    with pytest.raises(AdaptkitError) as error:
        parse_recipe(Classify, words.split(), "").make_training(
            **DEFAULTS, output_dir=str(tmp_path), use_cpu=True
        )
    assert str(error.value).startswith(message)
    assert len(str(error.value)) < 250
