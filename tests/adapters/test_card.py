"""Cards come from anyone: each is read, or refused by name of the field, at once."""

import contextlib
import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptkit import AdaptkitError
from adaptkit.adapters.card import TaskCard, parse_card, task_of

REFUSED = {
    "task": ([5, ["classify"]], "task should be text, or null; it is"),
    "labels": (["abc", [1, 2], None], "labels should be a list of text"),
    "columns": (["text", {"text": 3}], "columns should be an object whose values are text"),
    "settings": ([5, ["x"]], "settings should be an object"),
    "max_length": (["64", 3.5, True, 10**30, {}], "max_length should be a whole number, or null"),
    "fingerprint": ([5, {}], "fingerprint should be text"),
    "method": ([5, []], "method should be text"),
    "metrics": ([{"f1": "high"}, [], {"f1": [1]}, {"f1": 10**400}], "metrics should be an object"),
    "versions": ([{"torch": 2}, "2"], "versions should be an object whose values are text"),
    "weights_sha256": ([1], "weights_sha256 should be text"),
}


def card(**fields) -> TaskCard:
    return parse_card(json.dumps(fields).encode(), "folder")


@pytest.mark.parametrize(
    "name, value", [(name, value) for name, (values, _) in REFUSED.items() for value in values]
)
def test_a_field_of_another_type_is_named(name, value):
    with pytest.raises(AdaptkitError, match=f"folder/task.json: {REFUSED[name][1]}") as refusal:
        card(**{name: value})
    assert len(str(refusal.value)) < 250


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"labels": ["a", "b", "a"]}, "'a' is there 2 times"),
        ({"labels": ["a", "b", "b", "b"]}, "'b' is there 3 times"),
        ({"max_length": 1_000_001}, "1 to 1,000,000; it is 1000001"),
        ({"origin": "é" * 128}, "origin can be no name and no path"),
        ({"reading": {"format": 3}}, "reading should be how a file is read"),
        ({"reading": {"encoding": None}}, "reading should be how a file is read"),
        ({"reading": {"ending": ["x"]}}, "reading should be how a file is read"),
        ({"reading": {"column_names": "a,b"}}, "reading should be how a file is read"),
        ({"reading": {"column_names": ["a", 2]}}, "reading should be how a file is read"),
        ({"reading": {"tag_column": 0}}, "reading should be how a file is read"),
        ({"reading": {"tag_column": True}}, "reading should be how a file is read"),
        ({"max_length": 0}, "1 to 1,000,000; it is 0"),
        ({"max_length": -1}, "1 to 1,000,000; it is -1"),
        ({"base": "a\0b"}, "base can be no name and no path"),
        ({"base": "a" * 300}, "base can be no name and no path"),
        ({"revision": "a/" * 3000}, "revision can be no name and no path"),
        ({"labels": ["\ud800"]}, "is not valid JSON"),
    ],
)
def test_values_that_no_card_of_ours_has(fields, message):
    with pytest.raises(AdaptkitError, match=message):
        card(**fields)


def test_values_at_the_edge_of_what_a_card_may_have():
    assert card(max_length=1).max_length == 1
    assert card(max_length=1_000_000).max_length == 1_000_000
    assert card(base="a" * 255).base == "a" * 255
    assert card(base="a/" * 2000).base == "a/" * 2000
    reading = {"column_names": ["a"], "tag_column": 1, "format": "csv", "newer": 3}
    assert card(reading=reading).reading == reading


@pytest.mark.parametrize("task", ["tag", "embed", "classify"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), 10**400, "0.5", None, True, [1]])
def test_a_setting_of_another_kind_is_named(task, value):
    name = {"tag": "doc_stride", "embed": "temperature", "classify": "threshold"}[task]
    with pytest.raises(AdaptkitError, match=f"{name} of {task} cannot be"):
        task_of(card(task=task, labels=["a", "b"], settings={name: value}))


@pytest.mark.parametrize(
    "task, settings",
    [
        ("tag", {"doc_stride": 0}),
        ("tag", {"doc_stride": 2**63 - 1}),
        ("tag", {"span_end": "inclusive"}),
        ("embed", {"temperature": 1}),
        ("embed", {"temperature": -1e300, "pooling": "cls"}),
        ("classify", {"multi_label": True, "label_delimiter": ";"}),
    ],
)
def test_settings_at_the_edge_are_taken(task, settings):
    made = task_of(card(task=task, labels=["a", "b"], settings=settings))
    assert {name: getattr(made, name) for name in settings} == settings


@pytest.mark.parametrize(
    "task, settings",
    [
        ("tag", {"doc_stride": -1}),
        ("tag", {"doc_stride": 2**63}),
        ("tag", {"doc_stride": 1.0}),
        ("embed", {"temperature": 1.1e300}),
        ("embed", {"pooling": 5}),
        ("classify", {"multi_label": 1}),
        ("classify", {"label_delimiter": None}),
    ],
)
def test_settings_beyond_the_edge_are_refused(task, settings):
    (name,) = settings
    with pytest.raises(AdaptkitError, match=f"{name} of {task} cannot be"):
        task_of(card(task=task, labels=["a", "b"], settings=settings))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 10**400, "0.5", None])
def test_settings_that_are_no_numbers(value):
    with pytest.raises(AdaptkitError, match="threshold of classify cannot be"):
        task_of(card(task="classify", labels=["a", "b"], settings={"threshold": value}))


def test_metrics_may_be_infinite_and_what_is_new_is_left_out():
    read = card(metrics={"perplexity": float("inf")}, max_length=None, from_the_future=[1])
    assert read.metrics["perplexity"] == float("inf")
    assert read == TaskCard(metrics={"perplexity": float("inf")})


@pytest.mark.parametrize(
    "content",
    [b"[" * 100_000, b'{"a":' * 100_000, b'{"max_length": ' + b"9" * 5000 + b"}", b"\xff{}", b"",
     b" " * 16_000_001, b"[1]", b"null", b'{"labels": ' + b"[" * 900 + b"]" * 900 + b"}"],
    ids=["lists", "objects", "digits", "latin", "empty", "megabytes", "list", "null", "nest"],
)  # fmt: skip
def test_what_is_no_card_is_refused_at_once(content):
    start = time.process_time()
    with pytest.raises(AdaptkitError, match=r"folder/task.json"):
        parse_card(content, "folder")
    assert time.process_time() - start < 1


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=12,
)
names = st.sampled_from(list(TaskCard.__dataclass_fields__)) | st.text(max_size=9)


@settings(deadline=1000, max_examples=300)
@given(st.dictionaries(names, json_values, max_size=6) | json_values)
def test_any_json_is_a_card_or_refused(content):
    with contextlib.suppress(AdaptkitError):
        task_of(parse_card(json.dumps(content).encode(), "folder"))


def test_an_adapter_that_is_not_there_is_named_with_the_closest(tmp_path):
    from adaptkit.adapters.card import existing_adapter, existing_card

    (tmp_path / "topics").mkdir()
    with pytest.raises(AdaptkitError, match="there is no adapter folder .*topic.*topics"):
        existing_card(tmp_path / "topic")
    with pytest.raises(AdaptkitError, match="topics is not an adapter: it has no adapter_config"):
        existing_card(tmp_path / "topics")
    (tmp_path / "topics/adapter_config.json").write_text("{}")
    assert existing_adapter(tmp_path / "topics") == tmp_path / "topics"
    with pytest.raises(AdaptkitError, match="has no task card .task.json.: it was not made by"):
        existing_card(tmp_path / "topics")
    (tmp_path / "topics/task.json").write_text('{"task": "tag"}')
    assert existing_card(tmp_path / "topics").task == "tag"
    (tmp_path / "file").write_text("")
    with pytest.raises(AdaptkitError, match="there is no adapter folder .*file"):
        existing_card(tmp_path / "file")


def test_a_task_has_the_columns_labels_and_settings_of_its_card():
    columns, labels = {"text": "review", "label": "stars"}, ["x", "y"]
    made = task_of(card(task="classify", columns=columns, labels=labels, settings={"threshold": 1}))
    assert (made.columns, made.labels, made.threshold) == (columns, labels, 1)
    with pytest.raises(AdaptkitError, match="the adapter has no task in its card"):
        task_of(card())
    with pytest.raises(AdaptkitError, match="settings of classify that this version of adaptkit"):
        task_of(card(task="classify", labels=labels, settings={"newer": 1}))
