import json

import pytest

from adaptkit import AdaptkitError
from adaptkit.monitoring.feedback import check_correct, training_rows
from adaptkit.tasks.registry import find_task


def task(name, **settings):
    return find_task(name)(**settings)


INTENT = task("classify", labels=["refund", "praise"], columns={"label": "intent"})


@pytest.mark.parametrize(
    "asked, value",
    [
        (INTENT, "refund"),
        (task("classify", labels=["a", "b"], multi_label=True), ["b"]),
        (task("classify", labels=["a", "b"], multi_label=True), []),
        (task("score"), 3.5),
        (task("chat"), "Good morning."),
        (task("answer"), "Tuesday"),
    ],
)
def test_feedback_that_the_task_could_say(asked, value):
    assert check_correct(asked, value) == value


@pytest.mark.parametrize(
    "asked, value, problem",
    [
        (INTENT, "refnd", "did you mean 'refund'"),
        (INTENT, ["refund"], "answers with one label"),
        (task("classify", labels=["a"], multi_label=True), "a", "answers with a list of labels"),
        (task("classify", labels=["a"], multi_label=True), ["c"], "unknown label 'c'"),
        (task("score"), "3", "answers with a number"),
        (task("score"), float("nan"), "answers with a number"),
        (task("score"), True, "answers with a number"),
        (task("chat"), " ", "answers with a text"),
        (task("tag"), "x", "tag does not learn from feedback so far"),
        (task("embed"), "x", "embed does not learn from feedback so far"),
    ],
)
def test_feedback_that_it_could_not(asked, value, problem):
    with pytest.raises(AdaptkitError, match=problem):
        check_correct(asked, value)


def given(correct, text=None, answer=None):
    kept = None if text is None else json.dumps(text)
    return {"id": answer, "input": kept, "correct": json.dumps(correct)}


def test_training_rows_of_feedback():
    """The last word on a text counts; texts come from the feedback, or from the answer."""
    answers = [{"id": "a-0", "input": '"Where?"'}, {"id": "a-1", "input": None}]
    feedback = [
        given("refund", "money back"),
        given("praise", answer="a-0"),
        given("praise", "Money  back"),
        given("refund", answer="a-1"),
        given("refund", answer="gone-0"),
        given("no label", "a text"),
        given("praise", "  "),
        given("praise", {"strange": "a text"}),
        given("praise", {"text": "as a row"}),
    ]
    rows, notes = training_rows(INTENT, feedback, answers)
    assert list(rows.values()) == [
        {"text": "Where?", "intent": "praise"},
        {"text": "Money  back", "intent": "praise"},
        {"text": "as a row", "intent": "praise"},
    ]
    left_out = "of 9 rows of feedback are left out"
    assert notes == [
        f"1 {left_out}: later ones are about the same input",
        f"1 {left_out}: their texts are not in the log (--log_texts plain keeps them)",
        f"1 {left_out}: the log does not have their answers",
        f"3 {left_out}: they do not fit the task",
    ]


def test_rows_are_as_the_training_file_has_them():
    """Labels in columns of their own, and an answer with its place."""
    columns = {"label_columns": ["rude", "late"], "labels": ["rude", "late"], "multi_label": True}
    rows, notes = training_rows(task("classify", **columns), [given(["late"], "a text")], [])
    [row] = rows.values()
    assert (row, notes) == ({"text": "a text", "label": ["late"], "rude": 0, "late": 1}, [])
    asked = {"question": "Who?", "context": "It was Bob."}
    rows, notes = training_rows(
        task("answer"), [given("Bob", asked), given("Eve", asked | {"question": "Who else?"})], []
    )
    assert list(rows.values()) == [{**asked, "answers": [{"text": "Bob", "start": 7}]}]
    assert "1 of 2 rows" in notes[0]
