"""What a template does not write is refused, field by field, wherever it stands."""

import pytest

from adaptkit import AdaptkitError
from adaptkit.data.conversations.checks import check_template
from tests.helpers.model_templates import tokenizer_of
from tests.helpers.talks import ASK, CALL, CALLS, REPLY, SAY, SYSTEM, THINKS, TOOL
from tests.helpers.templates import DEAF

BESIDE = SAY | {"tool_calls": [CALL]}
TWO_CALLS = {"role": "assistant", "tool_calls": [CALL, CALL | {"id": "ihgfedcba"}]}
SECOND = {"role": "system", "content": "Be kind."}


@pytest.mark.parametrize(
    ("name", "talk", "tools", "lost"),
    [
        ("Llama 3.1", [ASK, BESIDE], [TOOL], "what the assistant says beside tool calls"),
        ("Mistral", [ASK, BESIDE, REPLY, SAY], [TOOL], "what the assistant says beside tool calls"),
        ("gpt-oss", [ASK, TWO_CALLS, REPLY, SAY], [TOOL], "tool_calls .number 2 of a message."),
        ("gpt-oss", [SYSTEM, ASK, SAY, SECOND, ASK, SAY], None, "the system message"),
        ("ChatML", [ASK, THINKS, ASK, SAY], None, "reasoning_content"),
        ("Qwen 2.5", [ASK, THINKS, ASK, SAY], None, "reasoning_content"),
        ("Zephyr", [ASK, SAY, REPLY, SAY], None, "messages of 'tool'"),
        ("ChatML", [ASK | {"name": "Zoe"}, SAY], None, "the name of messages of 'user'"),
    ],
)
def test_what_is_lost_in_one_place_is_refused(name, talk, tools, lost):
    with pytest.raises(AdaptkitError, match=f"does not write {lost}, so the model would not see"):
        check_template(tokenizer_of(name), talk, tools)


@pytest.mark.parametrize(
    ("name", "talk", "tools"),
    [
        ("Qwen 2.5", [ASK, BESIDE, REPLY, SAY], [TOOL]),
        ("Qwen 3", [ASK, TWO_CALLS, REPLY, REPLY, SAY], [TOOL]),
        ("ChatML", [SYSTEM, ASK, SAY, SECOND, ASK, SAY], None),
        ("ChatML", [ASK, THINKS | {"train": False}, ASK, SAY], None),  # it is read, not learned
        ("Qwen 2.5", [ASK, CALLS, REPLY | {"name": "look"}, SAY], [TOOL]),  # the call has the name
        ("gpt-oss", [ASK, THINKS, ASK, THINKS], None),
    ],
)
def test_what_is_written_in_its_place_passes(name, talk, tools):
    check_template(tokenizer_of(name), talk, tools)


def test_one_message_of_a_role_does_not_stand_for_another():
    """A template that writes the first question only."""
    tokenizer = tokenizer_of("ChatML")
    tokenizer.chat_template = (
        "{% for m in messages %}[{{ m.role }}]"
        "{% if m.role != 'user' or loop.first %}{{ m.content }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}[assistant]{% endif %}"
    )
    check_template(tokenizer, [ASK, SAY], None)
    with pytest.raises(AdaptkitError, match="does not write messages of 'user'"):
        check_template(tokenizer, [ASK, SAY, ASK, SAY], None)


def test_a_field_is_tried_once_for_each_place():
    known = set()
    check_template(tokenizer_of("ChatML"), [SYSTEM, ASK, SAY, ASK, SAY], None, known)
    places = len(known)
    assert places == 5
    deaf = tokenizer_of("ChatML")
    deaf.chat_template = DEAF
    other = [one | {"content": "Hm?"} for one in (SYSTEM, ASK, SAY, ASK, SAY)]
    check_template(deaf, other, None, known)  # taken as known, and so not rendered
    assert len(known) == places
    with pytest.raises(AdaptkitError, match="does not write the system message"):
        check_template(deaf, other, None)
    check_template(tokenizer_of("ChatML"), [SYSTEM, ASK, ASK, SAY], None, known)
    assert len(known) == places + 2  # of two questions; the others stand where one stood


MENTIONED = SAY | {"content": "The tag is </think>, see?"}


@pytest.mark.parametrize(
    "talk",
    [
        [ASK, MENTIONED],
        [ASK, MENTIONED, ASK, SAY],
        [ASK, MENTIONED | {"train": False}, ASK, SAY],
        [ASK, SAY | {"content": "<think>Hm.</think>It is </think>, see?"}],
    ],
)
def test_an_answer_that_mentions_the_end_of_thoughts_is_refused_where_it_would_be_split(talk):
    check_template(tokenizer_of("ChatML"), talk, None)
    with pytest.raises(AdaptkitError, match="reads </think> as the end of thoughts where"):
        check_template(tokenizer_of("Qwen 3"), talk, None)


@pytest.mark.parametrize(
    "content", ["<think>Hm.</think>It is.", "Hm.\n</think>\n\nIt is.", "<think>\n</think>\nIt is."]
)
@pytest.mark.parametrize("name", ["Qwen 3", "DeepSeek R1"])
def test_thoughts_within_an_answer_are_written_as_thoughts(name, content):
    check_template(tokenizer_of(name), [ASK, SAY | {"content": content}, ASK, SAY], None)
