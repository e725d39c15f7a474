"""The head of a recipe's model starts from what the frozen base knows, on real parts."""

import json
from pathlib import Path

import pytest
from adaptkit.recipes import chat, classify, decide, embed, tag

from adaptkit import AdaptkitError
from adaptkit.models.untrained.scratch import make_model
from adaptkit.recipe.parser import parse_recipe
from adaptkit.recipe.prepare import prepare
from adaptkit.tasks.answer import Answer
from adaptkit.tasks.decide import Decide
from tests.helpers.messages import messages


def _write(folder, **splits):
    words = []
    for split, rows in splits.items():
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        words += [f"--{split}_file", str(folder / f"{split}.jsonl")]
    return [*words, "--output_dir", str(folder / "out"), "--disable_tqdm", "true"]


@pytest.mark.slow
def test_rare_tags_do_not_end_at_zero(tmp_path):
    """From random weights this training ends at 0.000 after five epochs, at this rate and seed."""
    splits = {"train": messages(1000, 1), "validation": messages(100, 2)}
    of_all = [one for row in splits["train"] for one in row["tags"]]
    assert of_all.count("O") / len(of_all) > 0.95
    tag.main([*_write(tmp_path, **splits), "--num_train_epochs", "2", "--seed", "0"])
    found = json.loads((tmp_path / "out/all_results.json").read_text())
    assert found["eval_f1"] > found["eval_probe_f1"] + 0.1
    assert found["eval_f1"] > 0.2


@pytest.fixture(scope="module")
def coloured(tmp_path_factory):
    """A random BERT that knows words apart, and labels that need no more."""
    root = tmp_path_factory.mktemp("colours")
    rows = [
        {"text": f"the {thing} of {place} is {colour}", "label": colour}
        for thing in ("lamp", "door", "boat", "coat")
        for place in ("Anna", "Ben", "Cleo")
        for colour in ("red", "green", "blue")
    ]
    make_model("bert", [row["text"] for row in rows], root / "bert", vocab_size=300)
    words = ["--model_name_or_path", str(root / "bert"), "--load_best_model_at_end", "true"]
    return [*words, *_write(root, train=rows, validation=rows[::3] + rows[1::3])]


def _results(flags):
    return json.loads(
        (Path(flags[flags.index("--output_dir") + 1]) / "all_results.json").read_text()
    )


ONCE = ["--learning_rate", "1.0", "--num_train_epochs", "1", "--max_grad_norm", "100"]


@pytest.mark.parametrize(
    "words, left",
    [
        (
            "",
            "and the adapter changes nothing. Try a lower --learning_rate, more epochs or another",
        ),
        ("--train head --pooling mean", "and the head is what it was before the training. Try"),
        ("--method full --pooling mean", "and the base's weights are what they were before. Try"),
        ("--train norms --pooling mean", "and the base's weights are what they were before. Try"),
    ],
)
def test_the_probe_is_kept_where_training_only_harms(coloured, capsys, words, left):
    classify.main([*coloured, *ONCE, *words.split(), "--overwrite_output_dir"])
    found, printed = _results(coloured), capsys.readouterr().out
    assert "; validation accuracy 1.0000" in printed
    assert printed.count(f"the probe is kept, {left}") == 1
    assert found["eval_accuracy"] == found["eval_probe_accuracy"] == 1.0


def test_the_probe_stands_beside_the_adapter_on_test_rows(coloured, tmp_path, capsys):
    rows = coloured[coloured.index("--train_file") + 1]
    words = [*coloured[:2], "--train_file", rows, "--validation_split_percentage", "0"]
    words += ["--test_file", rows]
    out = tmp_path / "out"
    classify.main([*words, "--output_dir", str(out), "--disable_tqdm", "true", "--weight_decay=.1"])
    found = json.loads((out / "all_results.json").read_text())
    probe = f"{found['test_probe_accuracy']:.4f}"
    card = (out / "README.md").read_text()
    assert f"test probe accuracy {probe}" in " ".join(capsys.readouterr().out.split())
    assert f"| test | probe accuracy | {probe} |" in card
    assert "| weight_decay | `0.1` |" in card
    assert "| head_learning_rate | `0.002` |" in card
    assert "scored on 36 rows" in card


def test_a_model_whose_own_weights_train_keeps_its_own_pooling(coloured, capsys):
    words = ["--train", "head", "--max_steps", "1", "--overwrite_output_dir"]
    classify.main([*coloured, *words])
    assert "pooling: native, so that the result is an ordinary model" in capsys.readouterr().out


@pytest.mark.parametrize(
    "start, said", [("prior", "the frequencies of the labels"), ("random", "")]
)
def test_other_starts(coloured, capsys, start, said):
    words = ["--head_start", start, "--num_train_epochs", "1", "--max_steps", "1"]
    classify.main([*coloured, *words, "--overwrite_output_dir"])
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("head:")]
    assert lines == ([f"head: starts from {said}"] if said else [])
    assert "eval_probe_accuracy" not in _results(coloured)


def test_an_unknown_start_is_refused(coloured):
    with pytest.raises(AdaptkitError, match="did you mean 'probe'"):
        classify.main([*coloured, "--head_start", "prob", "--overwrite_output_dir"])


@pytest.mark.parametrize(
    "recipe, words, message",
    [
        (decide, "--head_start probe", "probe would not be used: decide with --encoder bi has no"),
        (
            decide,
            "--encoder cross --head_start prior",
            "prior would not.*decide with --encoder cro",
        ),
        (embed, "--head_start probe", "embed has no linear head.*as classify, relate, score and t"),
        (decide, "--head_learning_rate 1e-3", "decide with --encoder bi has no new head"),
        (chat, "--head_learning_rate 1e-3", "chat has no new head. Leave it out; --learning_rate"),
    ],
)
def test_flags_of_a_head_that_there_is_not_are_refused(tmp_path, recipe, words, message):
    with pytest.raises(AdaptkitError, match=message):
        recipe.main(["--output_dir", str(tmp_path / "out"), *words.split()])
    assert not (tmp_path / "out").exists()


def test_a_head_that_has_no_use_for_a_probe_may_have_its_rate(tmp_path):
    words = ["--output_dir", str(tmp_path / "out"), "--head_learning_rate", "1e-3"]
    prepared = prepare(parse_recipe(Decide, [*words, "--encoder", "cross"], ""))
    assert prepared.arguments.head_learning_rate == 1e-3
    words += ["--head_start", "random"]
    assert prepare(parse_recipe(Answer, words, "")).arguments.head_start == "random"


def test_a_warm_start_reads_what_its_head_reads(coloured, tmp_path, capsys):
    once = [*coloured, "--num_train_epochs", "1", "--overwrite_output_dir"]
    classify.main([*once, "--pooling", "max", "--output_dir", str(tmp_path / "first")])
    words = ["--warm_start", str(tmp_path / "first"), "--output_dir", str(tmp_path / "second")]
    classify.main([*once, *words])
    assert "its head is not used" not in capsys.readouterr().out
    card = json.loads((tmp_path / "second/task.json").read_text())
    assert card["settings"]["pooling"] == "max"
