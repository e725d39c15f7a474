"""Answers on a terminal: guesses, numbers, new labels, skipped and taken back."""

import pytest

from adaptkit import Table
from adaptkit.labelling.ask import KEYS, QUIT, SKIP, UNDO, ask_for_labels, ask_label
from adaptkit.labelling.label_file import LabelFile
from adaptkit.labelling.pool import Pool, Proposal
from adaptkit.tasks.classify import Classify
from tests.labelling.conftest import TEXTS, label_of


def _typed(*lines):
    """A user who types these lines, then Ctrl-D; and the prompts that were shown."""
    left, prompts = list(lines), []

    def read(prompt):
        prompts.append(prompt)
        if not left:
            raise EOFError
        return left.pop(0)

    return read, prompts


@pytest.mark.parametrize(
    "lines, labels, expected",
    [
        ([""], ["bad", "good"], "good"),
        (["1"], ["bad", "good"], "bad"),
        (["bad"], ["bad", "good"], "bad"),
        (["neutral"], ["bad", "good"], "neutral"),
        (["goood", "y"], ["bad", "good"], "goood"),
        (["goood", "", "2"], ["bad", "good"], "good"),
        (["2"], ["1", "2", "3"], "2"),
        (["4"], ["1", "2", "3"], "4"),
        (["/s"], ["bad"], SKIP),
        (["/u"], ["bad"], UNDO),
        (["/q"], ["bad"], QUIT),
        ([], ["bad"], QUIT),
        (["/help", "q", "/q"], ["bad"], QUIT),
        (["q"], ["q"], "q"),
    ],
)
def test_what_is_typed(lines, labels, expected):
    read, prompts = _typed(*lines)
    assert ask_label("a text", Proposal(0, "good", 0.625), labels, read) == expected
    assert prompts[0] == "label [good (0.62)]: "


def test_without_a_guess_enter_asks_again(capsys):
    read, prompts = _typed("", "first")
    assert ask_label("a text", Proposal(0), [], read) == "first"
    assert prompts == ["label: ", "label: "]
    assert f"There is no guess to accept: type a label; {KEYS}." in capsys.readouterr().out


@pytest.mark.parametrize(
    "line, labels, said",
    [
        ("?", ["bad", "good"], f"'?' is no label: type a label or its number; {KEYS}."),
        ("99", ["bad", "good"], "There is no label 99: the list ends at 2. Type a number or a la"),
        ("0", ["bad", "good"], "There is no label 0: the list ends at 2."),
        ("...", [], f"'...' is no label: type a label; {KEYS}."),
        ("/help", ["bad"], f"'/help' is neither a key nor taken as a label: {KEYS}."),
    ],
)
def test_what_is_no_label_is_said_and_asked_again(line, labels, said, capsys):
    read, prompts = _typed(line, "good")
    assert ask_label("a text", Proposal(0, "bad"), labels, read) == "good"
    assert prompts == ["label [bad]: "] * 2
    assert said in capsys.readouterr().out


@pytest.mark.parametrize(
    "line, labels", [("99", []), ("99", ["1", "2"]), ("+", ["-"]), ("🙂", ["a"]), ("4x", ["a"])]
)
def test_what_may_be_a_label_is_one(line, labels):
    read, prompts = _typed(line)
    assert ask_label("a text", Proposal(0), labels, read) == line
    assert len(prompts) == 1


def test_every_answer_is_in_the_file_before_the_next_question(small, tmp_path, capsys):
    table, task = Table([{"text": text} for text in TEXTS], "rows"), Classify()
    collected = LabelFile(tmp_path / "labelled.csv", task)
    seen = []

    def rows():
        return LabelFile(tmp_path / "labelled.csv", task).rows

    answers = iter(["right", "right", UNDO, SKIP, "right", "right", "right", QUIT])

    def read(prompt):
        seen.append(len(rows()))
        answer = next(answers)
        shown = capsys.readouterr().out
        if answer == "right":
            return next(label_of(text) for text in TEXTS if f"  {text}\n" in shown)
        return answer

    ask_for_labels(Pool(table, task, small), [], collected, 3, read)
    assert seen == [0, 1, 2, 1, 1, 2, 3, 4]
    assert all(row["label"] == label_of(row["text"]) for row in rows())
    assert len({row["text"] for row in rows()}) == 4


def test_it_ends_when_no_row_is_left(small, tmp_path, capsys):
    table, task = Table([{"text": text} for text in TEXTS[:3]], "rows"), Classify()
    collected = LabelFile(tmp_path / "labelled.jsonl", task)
    read, _ = _typed("a", "b", SKIP)
    ask_for_labels(Pool(table, task, small), [], collected, 20, read)
    assert "no row is left" in capsys.readouterr().out
    assert [row["label"] for row in collected.rows] == ["a", "b"]
