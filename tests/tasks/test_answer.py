"""Answers are found in any window, or are said not to be there."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptkit import AdaptkitError, load_splits, load_tokenizer, read_table
from adaptkit.data.alignment import tokens_of
from adaptkit.data.tables import Table
from adaptkit.data.texts import visible_part
from adaptkit.tasks.answer import Answer
from tests.helpers.files import refused, write
from tests.helpers.tokenizers import FAST, kind


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


def found_again(tokenizer, context, start, end, max_length=256, **settings):
    """The answer of a model that knows all labels; None if they say that there is none."""
    answer = {"text": context[start:end], "start": start}
    row = {"question": "Which?", "context": context, "answers": [answer]}
    task = Answer(**settings)
    table = task.read(Table([row], "x"))
    encoded = task.encode(table, tokenizer, max_length)
    outputs = np.zeros((len(encoded), max(map(len, encoded["input_ids"])), 2))
    for window, (first, last) in enumerate(encoded["labels"]):
        if first == encoded["_nothing"][window]:
            continue
        outputs[window, first, 0] = outputs[window, last, 1] = 5
    answers = task.decode(outputs, encoded, table)
    return (answers[0], task.score(answers, table)) if outputs.any() else None


DROPPED = [
    ("Le cafe\u0301 noir", "cafe\u0301"),
    ("Le e\u0301cole noir", "e\u0301cole"),
    ("Le \u200bMira\u200b noir", "\u200bMira\u200b"),
    ("हिन्दी में किताबें हैं", "किताबें"),
    ("हिन्दी में किताबें हैं", "में"),
    ("هذا كِتَابٌ جَدِيدٌ هنا", "كِتَابٌ"),
    ("זה שָׁלוֹם עוֹלָםֽ כן", "עוֹלָםֽ"),
    ("I \u2764\ufe0f you", "\u2764\ufe0f"),
    (
        "fam \U0001f468\u200d\U0001f469\u200d\U0001f467 ok",
        "\U0001f468\u200d\U0001f469\u200d\U0001f467",
    ),
    ("\u0d28\u0d4d\u200d ok", "\u0d28\u0d4d\u200d"),
]


@pytest.mark.parametrize(
    "name", ["word pieces", "bytes", "sentence pieces", "bert", "canine", "byt5"]
)
@pytest.mark.parametrize(("context", "text"), DROPPED)
def test_an_answer_whose_ends_the_tokenizer_drops_is_found_whole(name, context, text):
    """Accents, vowel signs, points and variation selectors belong to the answer."""
    start = context.index(text)
    answer, scores = found_again(kind(name), context, start, start + len(text))
    assert answer["text"] == text.strip("\u200b")
    assert scores == {"exact_match": 1.0, "f1": 1.0}


FRAGMENTS = st.sampled_from(
    [*(text for _, text in DROPPED), "Bern", "\u200b", "\u200fx\u200e", "\ufb01n", "!", "北京"]
)


@settings(max_examples=80, deadline=None)
@given(
    st.sampled_from([*FAST, "bert", "canine", "byt5", "japanese"]),
    st.lists(FRAGMENTS, min_size=1, max_size=6),
    st.sampled_from(["", " ", "  "]),
    st.data(),
)
def test_a_span_that_a_token_touches_is_never_no_answer(name, words, blank, data):
    """Any span: what the tokenizer keeps of it is in the answer."""
    context = blank.join(words)
    start = data.draw(st.integers(0, len(context) - 1))
    end = data.draw(st.integers(start + 1, len(context)))
    tokenizer = kind(name)
    _, offsets = tokens_of(tokenizer, context)
    kept = {place for one, two in offsets for place in range(one, two)}
    first, last = visible_part(context, start, end)
    seen = [
        place
        for place in range(first, last)
        if len(set(visible_part(context, place, place + 1))) > 1
    ]
    wanted = [place for place in seen if place in kept]
    if not wanted:
        with pytest.raises(AdaptkitError, match="x row 0: the tokenizer keeps no visible"):
            found_again(tokenizer, context, start, end)
        return
    answer, _ = found_again(tokenizer, context, start, end, max_length=512, max_answer_length=512)
    assert answer["start"] <= wanted[0] <= wanted[-1] < answer["end"]
    assert context[answer["start"] : answer["end"]] == answer["text"]
    outside = {*range(answer["start"], answer["end"])} & kept - {*range(first, last)}
    tokens = [set(range(*place)) for place in offsets]
    assert all(any({place} < token for token in tokens) for place in outside)  # parts of tokens


@pytest.mark.parametrize("text", ["किताबें", "cafe\u0301", "\u2764\ufe0f"])
@pytest.mark.parametrize("before", range(4, 26, 3))
def test_what_is_outside_a_window_is_not_what_the_tokenizer_drops(tokenizer, text, before):
    """Of a window that cuts the answer, no label points into it."""
    context = " ".join([*["word"] * before, text, *["word"] * 20])
    start = context.index(text)
    size = {"max_length": 24, "doc_stride": 8}
    answer, scores = found_again(tokenizer, context, start, start + len(text), **size)
    assert (answer["text"], scores["exact_match"]) == (text, 1.0)


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
