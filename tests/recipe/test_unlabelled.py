"""Texts without labels beside few labelled ones, in a recipe."""

import json
import re

import pytest
from adaptkit.recipes import classify, score

from adaptkit import AdaptkitError
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


def test_scores_have_no_pseudo_labels(small, tmp_path, files):
    more = ["--score_column", "urgency", "--unlabelled_file", str(small / "train.jsonl")]
    with pytest.raises(AdaptkitError, match="it is for classify and relate"):
        score.main(flags(small, tmp_path / "out", *more))


def test_texts_that_are_all_known_are_no_help(files, tmp_path):
    known = ["--unlabelled_file", files[1]]
    with pytest.raises(AdaptkitError, match="all 8 texts are in the other rows already"):
        classify.main([*files, *known, "--output_dir", str(tmp_path / "out")])
