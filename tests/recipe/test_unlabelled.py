"""Texts without labels beside few labelled ones, in a recipe."""

import json
import re
from pathlib import Path

import pytest
from adaptkit.recipes import classify, score

from adaptkit import AdaptkitError
from adaptkit.data.readers.options import Reading
from adaptkit.data.readers.read import read
from adaptkit.data.tables import Table
from adaptkit.models.untrained.scratch import make_model
from adaptkit.recipe.unlabelled import without_labels
from adaptkit.tasks.classify import Classify
from adaptkit.tasks.tag import Tag
from tests.helpers.small import flags

WORDS = {"good": ("fine", "lovely"), "bad": ("broken", "dreadful")}
THINGS = ("lamp", "house", "river", "apple", "train", "song", "letter", "shop")


def _write(file, rows):
    file.write_text("\n".join(map(json.dumps, rows)))
    return str(file)


@pytest.fixture
def files(small, tmp_path):
    """Eight labelled texts, and 24 without a label, of which one is labelled and one a test row."""
    rows = [
        {"text": f"the {thing} is {word}", "label": label}
        for thing in THINGS
        for label, words in WORDS.items()
        for word in words
    ]
    labelled, test = rows[:8], rows[28:]
    others = [{"text": row["text"]} for row in [*rows[8:29], rows[0], rows[9]]]
    return [
        *("--train_file", _write(tmp_path / "train.jsonl", labelled)),
        *("--test_file", _write(tmp_path / "test.jsonl", test)),
        *("--unlabelled_file", _write(tmp_path / "others.jsonl", others)),
        *("--validation_split_percentage", "0", "--model_name_or_path", str(small / "bert")),
        *("--num_train_epochs", "1", "--disable_tqdm", "true"),
    ]


def test_they_join_the_probe_and_no_row_of_another_split_does(files, tmp_path, capsys):
    classify.main([*files, "--output_dir", str(tmp_path / "out")])
    said = capsys.readouterr().out
    assert re.search("3 texts of .* are in the other rows, or twice, and left out", said)
    joined = re.search(r"a linear probe of 8 frozen rows and (\d+) of 20 without a label", said)
    assert 0 < int(joined[1]) <= 20
    assert re.search("training .* parameters .* on 8 rows", said)


@pytest.mark.parametrize(
    "more", [["--head_start", "random"], ["--method", "full"], ["--multi_label", "true"]]
)
def test_what_it_is_for_is_said(files, tmp_path, more):
    with pytest.raises(AdaptkitError, match="--unlabelled_file helps the probe"):
        classify.main([*files, *more, "--output_dir", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


def test_a_head_that_is_no_linear_map_has_no_use_for_them(files, tmp_path):
    out = ["--output_dir", str(tmp_path / "out")]
    with pytest.raises(AdaptkitError, match="--pooling attention the head .* choose --pooling"):
        classify.main([*files, *out, "--pooling", "attention"])
    make_model("t5", [f"the {thing}" for thing in THINGS], tmp_path / "t5", vocab_size=300)
    with pytest.raises(AdaptkitError, match="native the head of this T5.* Leave it out.$"):
        classify.main([*files, *out, "--model_name_or_path", str(tmp_path / "t5")])


def test_scores_have_no_pseudo_labels(small, tmp_path, files):
    more = ["--score_column", "urgency", "--unlabelled_file", str(small / "train.jsonl")]
    with pytest.raises(AdaptkitError, match="it is for classify and relate"):
        score.main(flags(small, tmp_path / "out", *more))


def test_texts_that_are_all_known_are_no_help(files, tmp_path):
    known = ["--unlabelled_file", files[1]]
    with pytest.raises(AdaptkitError, match="all 8 texts are in the other rows already"):
        classify.main([*files, *known, "--output_dir", str(tmp_path / "out")])


@pytest.mark.parametrize(
    "column, guess",
    [("Review", " Did you mean 'Review'? Columns"), ("body", "; it has id, body. Col")],
)
def test_a_column_of_another_name_is_said_with_what_to_do(files, tmp_path, column, guess):
    """--text_column names it in all files, so to name the other one there is no help."""
    words = ["--output_dir", str(tmp_path / "out"), "--text_column", "review"]
    for place in (1, 3):
        rows = Path(files[place]).read_text().replace('"text"', '"review"')
        Path(files[place]).write_text(rows)
    _write(tmp_path / "others.jsonl", [{"id": 1, column: "the lamp is fine"}])
    with pytest.raises(AdaptkitError) as error:
        classify.main([*files, *words])
    said = str(error.value)
    assert said.startswith(f"--unlabelled_file {tmp_path}/others.jsonl has no column 'review', ")
    assert "(--text_column review); it has id, " in said
    assert guess in said
    assert said.endswith("rename one, or give texts alone as a .txt file, one a line.")
    (tmp_path / "others.txt").write_text("the lamp is new\n")
    files[5] = str(tmp_path / "others.txt")
    task = Classify(columns={"text": "review"})
    table = read(files[5], Reading(wanted=task.wanted()[:1]))
    assert without_labels(task, table).rows == [{"text": "the lamp is new"}]


def test_distillation_says_it_too():
    table = Table([{"Text": "the lamp is fine"}], "others.csv")
    with pytest.raises(AdaptkitError, match="--unlabelled_file others.csv has no.* mean 'Text'"):
        without_labels(Tag(), table)
    with pytest.raises(AdaptkitError, match="others.csv row 0"):
        without_labels(Classify(), Table([{"text": ""}], "others.csv"))
