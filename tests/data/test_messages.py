"""Messages and tools of the common formats, read or refused."""

import pytest

from adaptkit import AdaptkitError, Table
from adaptkit.data.messages import read_before, read_messages, read_tools, refuse_weight

TABLE = Table([{}], "talks.jsonl", [7])
CALL = {"id": "1", "type": "function", "function": {"name": "look", "arguments": '{"for": "x"}'}}


def read(*messages):
    return read_messages(TABLE, 0, list(messages))


def test_parts_of_text_are_one_text():
    parts = [{"type": "text", "text": "Is it "}, {"type": "text", "text": "blue?"}]
    assert read({"role": "user", "content": parts, "name": None}) == [
        {"role": "user", "content": "Is it blue?"}
    ]


@pytest.mark.parametrize(
    "mark", [{"weight": 0}, {"weight": 0.0}, {"train": False}, {"training": 0}, {"loss": False}]
)
def test_turns_without_loss_are_marked(mark):
    found = read(
        {"role": "assistant", "content": "x", **mark}, {"role": "assistant", "content": "y"}
    )
    assert found == [
        {"role": "assistant", "content": "x", "train": False},
        {"role": "assistant", "content": "y"},
    ]
    assert read({"role": "assistant", "content": "y", "weight": 1}) == found[1:]


def test_tool_calls_have_objects_as_arguments():
    given = {"role": "assistant", "content": None, "tool_calls": [CALL]}
    wanted = {"name": "look", "arguments": {"for": "x"}}
    assert read(given) == [
        {"role": "assistant", "tool_calls": [{"id": "1", "type": "function", "function": wanted}]}
    ]


@pytest.mark.parametrize("nothing", ["", " ", "{}", "null", None])
@pytest.mark.parametrize("flat", [False, True])
def test_no_arguments_are_an_empty_object(nothing, flat):
    function = {"name": "look", "arguments": nothing}
    call = function if flat else {"function": function}
    [found] = read({"role": "assistant", "tool_calls": [call]})[0]["tool_calls"]
    assert (found if flat else found["function"]) == {"name": "look", "arguments": {}}


@pytest.mark.parametrize("broken", ["no json", '{"for": ', "5", "[1]", ["x"], 0])
def test_arguments_that_are_no_object_are_refused_by_line(broken):
    call = {"function": {"name": "look", "arguments": broken}}
    wanted = "^talks.jsonl:7: the arguments of a tool call should be a JSON object; they are"
    with pytest.raises(AdaptkitError, match=wanted):
        read({"role": "assistant", "tool_calls": [call]})


@pytest.mark.parametrize(
    "content", [{}, {"content": ""}, {"content": None}, {"content": [{"type": "text", "text": ""}]}]
)
def test_a_refusal_is_what_the_assistant_says(content):
    found = read({"role": "assistant", "refusal": "I will not.", **content})
    assert found == [{"role": "assistant", "content": "I will not."}]


def test_a_refusal_may_be_a_part():
    parts = [{"type": "refusal", "refusal": "I will not."}]
    assert read({"role": "assistant", "content": parts}) == [
        {"role": "assistant", "content": "I will not."}
    ]


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (
            {"role": "user", "content": [{"type": "image_url", "image_url": "x"}]},
            "part of type 'image",
        ),
        ({"role": "user", "content": "x", "images": ["x.png"]}, "'user' holds images"),
        ({"role": "assistant", "content": "", "function_call": {"name": "x"}}, "give tool_calls"),
        ({"role": "assistant", "content": "x", "weight": 0.5}, "weight of a message is 0 or 1"),
        (
            {"role": "user", "content": "x", "train": True},
            "only what the assistant says carries loss",
        ),
        ({"role": "assistant", "content": "x", "tool_calls": ["x"]}, "tool_calls should be a list"),
        ({"role": "assistant", "content": None}, 'a message should be {"role"'),
        ({"role": "user", "content": 3}, 'a message should be {"role"'),
        ({"role": "assistant", "content": "x", "refusal": "y"}, "a content and a refusal"),
        ({"role": "assistant", "content": "", "refusal": ["y"]}, "a content and a refusal"),
    ],
)
def test_what_would_be_lost_is_refused_by_line(message, said):
    with pytest.raises(AdaptkitError, match=f"^talks.jsonl:7: .*{said}"):
        read(message)


def test_tools_are_a_list_or_its_json():
    tool = {"type": "function", "function": {"name": "look"}}
    for given in ([tool], '[{"type": "function", "function": {"name": "look"}}]'):
        assert read_tools(TABLE, 0, {"tools": given}) == [tool]
    for nothing in (None, [], "", " ", "[]"):
        assert read_tools(TABLE, 0, {"tools": nothing, "images": []}) == []


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"tools": "{"}, "tools hold no JSON"),
        ({"tools": ["look"]}, "tools should be a list of objects"),
        ({"images": ["x.png"]}, "the row has images, which would be lost"),
        ({"functions": [{"name": "x"}]}, "give them as tools"),
    ],
)
def test_rows_that_hold_more_than_texts_are_refused(row, said):
    with pytest.raises(AdaptkitError, match=f"^talks.jsonl:7: .*{said}"):
        read_tools(TABLE, 0, row)


def test_a_system_text_and_a_history_come_before_a_prompt():
    row = {"system": "Be brief.", "history": [["Hello?", "Yes."], ["Where?", "Here."]]}
    assert read_before(Table([row], "f"), 0, row) == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello?"},
        {"role": "assistant", "content": "Yes."},
        {"role": "user", "content": "Where?"},
        {"role": "assistant", "content": "Here."},
    ]
    assert read_before(Table([row], "f"), 0, row, taken=("system", "history")) == []
    empty = {"system": "", "history": [], "prompt": "x"}
    assert read_before(Table([empty], "f"), 0, empty) == []


@pytest.mark.parametrize(
    "row, said",
    [
        ({"history": "Hello? Yes."}, "history should be pairs"),
        ({"history": [["Hello?"]]}, "history should be pairs"),
        ({"history": [{"user": "Hello?"}]}, "history should be pairs"),
        ({"system": ["Be brief."]}, "system should be a text"),
    ],
)
def test_a_history_of_another_form_is_refused(row, said):
    with pytest.raises(AdaptkitError, match=f"f:1: {said}"):
        read_before(Table([row], "f", [1]), 0, row)


@pytest.mark.parametrize("mark", ["weight", "train", "loss"])
def test_a_row_that_should_not_be_trained_on_is_refused(mark):
    row = {mark: 0, "messages": []}
    with pytest.raises(AdaptkitError, match=f"the row has {mark}: 0; leave it out"):
        refuse_weight(Table([row], "f", [1]), 0, row)
    refuse_weight(Table([{mark: 1}], "f"), 0, {mark: 1})
    refuse_weight(Table([{}], "f"), 0, {})


def test_messages_as_sharegpt_writes_them():
    found = read(
        {"from": "system", "value": "Be brief."},
        {"from": "human", "value": "Is it blue?"},
        {"from": "function_call", "value": '{"name": "look", "arguments": {"for": "x"}}'},
        {"from": "observation", "value": "blue"},
        {"from": "gpt", "value": "It is.", "weight": 0},
    )
    call = {"type": "function", "function": {"name": "look", "arguments": {"for": "x"}}}
    assert found == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Is it blue?"},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "content": "blue"},
        {"role": "assistant", "content": "It is.", "train": False},
    ]


@pytest.mark.parametrize("value", ["look", '["look"]', '{"arguments": {}}', None])
def test_a_function_call_that_names_none_is_refused(value):
    with pytest.raises(
        AdaptkitError, match="a function_call should be .*talks.jsonl|talks.jsonl.*"
    ):
        read({"from": "function_call", "value": value})


def test_a_sharegpt_message_without_text_is_refused():
    with pytest.raises(AdaptkitError, match="talks.jsonl:7: a message should be"):
        read({"from": "human", "text": "Is it blue?"})
