"""Answers are found in any window, or are said not to be there."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptkit import AdaptkitError, load_splits, load_tokenizer, read_table
from adaptkit.data.tables import Table
from adaptkit.tasks.answer import Answer
from tests.helpers.files import refused, write


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 60), st.integers(1, 3), st.integers(24, 64), st.integers(0, 16))
def test_answers_are_found_in_any_window(first, length, max_length, stride):
    tokenizer = load_tokenizer("all-MiniLM-L6-v2")
    words = [f"word{i}" for i in range(64)]
    context = " ".join(words)
    text = " ".join(words[first : first + length])
    rows = [
        {
            "question": "Which?",
            "context": context,
            "answers": [{"text": text, "start": context.index(words[first])}],
        }
    ]
    task = Answer(doc_stride=stride)
    table = task.read(Table(rows, "x"))
    encoded = task.encode(table, tokenizer, max_length)
    outputs = np.zeros((len(encoded), max(map(len, encoded["input_ids"])), 2))
    whole = 0
    for window, (start, end) in enumerate(encoded["labels"]):
        if start != encoded["_nothing"][window]:
            outputs[window, start, 0] = outputs[window, end, 1] = 5
            whole += 1
    answers = task.decode(outputs, encoded, table)
    if whole:
        assert (answers[0]["text"], answers[0]["start"]) == (text, context.index(words[first]))
        assert task.score(answers, table) == {"exact_match": 1.0, "f1": 1.0}


@pytest.mark.parametrize("answer", [" Mira", "Mira ", " Mira "])
def test_blanks_around_an_answer_count_for_nothing(tokenizer, answer):
    context = "The captain was Mira at sea."
    rows = [
        {
            "question": "Who?",
            "context": context,
            "answers": [{"text": answer, "start": context.index(answer)}],
        }
    ]
    task = Answer()
    table = task.read(Table(rows, "x"))
    encoded = task.encode(table, tokenizer, 64)
    start, end = encoded["labels"][0]
    assert tokenizer.decode(encoded["input_ids"][0][start : end + 1]) == "mira"


def test_no_answer_is_an_answer_where_the_training_rows_have_it(tokenizer):
    rows = [
        {"question": "a?", "context": "b c d", "answers": [{"text": "c", "start": 2}]},
        {"question": "x?", "context": "y z", "answers": []},
    ]
    table = Answer().read(Table(rows, "x"))
    task = Answer().fit_labels(table)
    encoded = task.encode(table, tokenizer, 16)
    outputs = np.zeros((2, max(encoded["length"]), 2))
    outputs[:, 0] = 1  # nothing, a little
    outputs[0, encoded["labels"][0][0], :] = 3
    answers = task.decode(outputs, encoded, table)
    assert [answer["text"] for answer in answers] == ["c", ""]
    assert task.score(answers, table)["no_answer_accuracy"] == 1
    assert (
        Answer().decode(outputs, encoded, table)[1]["text"] != ""
    )  # a task that has not learned of it always answers
    strict = Answer(unanswerable=True, null_threshold=10.0).decode(outputs, encoded, table)
    assert strict[1]["text"] != ""


def squad(**question):
    paragraph = {
        "context": "\ufeffThe café is in Bern.",
        "qas": [{"id": "q7", "question": "Where?", **question}],
    }
    return json.dumps({"data": [{"paragraphs": [paragraph]}], "version": "1.1"}, ensure_ascii=False)


def test_questions_of_squad(tmp_path):
    path = write(tmp_path / "a.json", squad(answers=[{"text": "Bern", "answer_start": 16}]))
    row = Answer().read(read_table(path)).rows[0]
    assert row["context"][16:20] == "Bern"  # the byte order mark inside is a character of the text
    none = read_table(write(tmp_path / "n.json", squad(is_impossible=True, answers=[])))
    assert Answer().read(none).rows[0]["answers"] == []
    wrong = read_table(
        write(tmp_path / "w.json", squad(answers=[{"text": "Bern", "answer_start": 15}]))
    )
    with pytest.raises(
        AdaptkitError,
        match=r"w\.json:q7: the answer 'Bern' is not at character 15: there is ' Ber'\. "
        r"It is at 16",
    ):
        Answer().read(wrong)
    refused(
        write(tmp_path / "x.json", '{"data": [{"paragraphs": [{"qas": [{"id": 1}]}]}]}'),
        "not as SQuAD writes it",
    )


def test_an_answer_that_validation_lacks_is_refused(tmp_path):
    train = write(tmp_path / "a.json", squad(answers=[{"text": "Bern", "answer_start": 16}]))
    other = write(tmp_path / "b.json", squad(answers=[]))
    with pytest.raises(AdaptkitError, match=r"b\.json:q7: the question has no answer"):
        Answer().prepare(load_splits(str(train), str(other)), seed=1)


def _question(*answers: dict, context: str = "red, then blue, then red") -> dict:
    return {"question": "Which?", "context": context, "answers": list(answers)}


def test_references_without_a_place_are_scored_and_carry_no_loss(tokenizer):
    rows = [
        _question({"text": "blue", "answer_start": -1}),  # the context holds it once
        _question({"text": "red", "start": -1}),  # twice
        _question({"text": "green"}, {"text": "then", "start": 5}),
    ]
    task = Answer()
    table = task.read(Table(rows, "x"))
    assert [row["answers"] for row in table.rows] == [
        [{"text": "blue", "start": 10}],
        [],
        [{"text": "then", "start": 5}],
    ]
    assert [row["unplaced"] for row in table.rows] == [[], ["red"], ["green"]]
    task.check_labels(table)  # no question lacks an answer
    labels = task.encode(table, tokenizer, 32)["labels"]
    assert labels[1] == [-100, -100]
    assert min(labels[0] + labels[2]) > 0
    answers = [{"text": text} for text in ("blue", "red", "green")]
    assert task.score(answers, table) == {"exact_match": 1.0, "f1": 1.0}
    with pytest.raises(AdaptkitError, match=r"x row 1: the place of the answer 'red' .* 2 times"):
        task.fit_labels(table)


@pytest.mark.parametrize("row", [{}, {"answers": None}])
def test_a_row_without_answers_is_not_one_that_has_none(row):
    asked = {"question": "Which?", "context": "red", **row}
    table = Table([_question({"text": "blue", "start": 10}), asked], "x")
    with pytest.raises(AdaptkitError, match=r"x row 1: the row has no 'answers'; write \[\]"):
        Answer().read(table)
    assert len(Answer().read(table, labelled=False)) == 2
