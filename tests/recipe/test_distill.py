"""A student is checked before its teacher runs."""

import json

import pytest
from adaptkit.recipes import classify, distill

from adaptkit import AdaptkitError, Predictor
from adaptkit.adapters.card import read_card
from adaptkit.models.untrained.scratch import make_model
from tests.helpers.minilm import make


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        (["--student", "bilstmm"], "bilstm"),
        (["--student", "cnn", "--folds", "3"], "not support --folds"),
        (["--student", "cnn", "--check"], "adaptkit check classify"),
        (["--student_layers", "9", "--layer_map", "last"], "fewer than the 9"),
    ],
)
def test_a_student_is_checked_before_its_teacher_runs(warm_rows, flags, problem):
    folder, files = warm_rows
    with pytest.raises(AdaptkitError, match=problem):
        distill.main(
            [
                *files,
                *flags,
                "--teacher",
                str(make(folder, "teacher", labels=("bad", "good"))),
                "--output_dir",
                str(folder / "no"),
            ]
        )
    assert not (folder / "no").exists()


@pytest.fixture(scope="module")
def coloured(tmp_path_factory):
    """Flags of a student over a random BERT, of a teacher over the same, and the teacher's rows."""
    root = tmp_path_factory.mktemp("colours")
    rows = [
        {"text": f"the {thing} of {place} is {colour}", "label": colour}
        for thing in ("lamp", "door", "boat")
        for place in ("Anna", "Ben", "Cleo")
        for colour in ("red", "green", "blue")
    ]
    make_model("bert", [row["text"] for row in rows], root / "bert", vocab_size=300)
    (root / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (root / "more.txt").write_text("the coat of Anna is red\nthe coat of Ben is blue\n")
    files = [*("--train_file", str(root / "rows.jsonl")), "--validation_split_percentage", "0"]
    files += ["--model_name_or_path", str(root / "bert"), "--disable_tqdm", "true"]
    files += ["--num_train_epochs", "1"]
    classify.main([*files, "--output_dir", str(root / "teacher")])
    return root, [*files, "--teacher", str(root / "teacher")]


@pytest.mark.parametrize(
    ("flags", "pooling"),
    [
        (["--pooling", "mean"], "mean"),
        (["--pooling", "max", "--method", "lora"], "max"),
        (["--method", "lora"], "mean"),
        ([], "native"),
    ],
)
def test_what_a_student_reads_is_settled_as_anywhere(coloured, flags, pooling, tmp_path, capsys):
    _, words = coloured
    out = tmp_path / "student"
    distill.main([*words, *flags, "--output_dir", str(out)])
    card = read_card(out)
    assert card.settings["pooling"] == pooling
    said = capsys.readouterr().out
    assert (f"pooling {pooling})" in said) == (pooling != "native")
    model = Predictor(out).model
    bare = model.get_base_model() if flags[-1:] == ["lora"] else model
    assert getattr(bare.config, "adaptkit_pooling", "native") == pooling


def test_a_probe_reads_no_placeholders(coloured, capsys):
    root, words = coloured
    more = ["--unlabelled_file", str(root / "more.txt"), "--method", "lora"]
    distill.main([*words, *more, "--output_dir", str(root / "more")])
    said = capsys.readouterr().out
    assert "2 texts of" in said
    assert "a linear probe of 27 frozen rows (" in said
