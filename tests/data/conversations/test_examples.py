"""Conversations with tools, turns without loss, and what a template leaves out."""

import pytest

from adaptkit import AdaptkitError
from adaptkit.data.conversations.checks import check_template
from adaptkit.data.conversations.examples import encode_conversation
from adaptkit.data.conversations.rendering import render
from tests.helpers.talks import ASK, CALLS, REPLY, SAY, SYSTEM, THINKS, TOOL, learned
from tests.helpers.templates import ALTERNATES, DEAF, OPENS_THOUGHTS, WITH_TOOLS
from tests.helpers.tokenizers import byte_level, slow


def with_template(template):
    tokenizer = byte_level()
    tokenizer.bos_token, tokenizer.chat_template = "[CLS]", template
    return tokenizer


def test_tools_and_calls_are_written_by_the_template_and_learned():
    tokenizer = with_template(WITH_TOOLS)
    talk = [SYSTEM, ASK, CALLS, REPLY, SAY]
    check_template(tokenizer, talk, [TOOL])
    [row] = encode_conversation(talk, tokenizer, 1000, [TOOL])
    text = tokenizer.decode(row["input_ids"])
    assert text == render(tokenizer, talk, False, [TOOL])
    assert '# Tools\n{"type": "function", "function": {"name": "look"' in text
    assert learned(tokenizer, row) == [
        '\n<tool_call>\n{"name": "look", "arguments": {"x": 1}}\n</tool_call><|im_end|>\n',
        "It is.<|im_end|>\n",
    ]


def test_arguments_are_texts_where_the_template_joins_them():
    arguments = "m.tool_calls[0].function.arguments + '!'"
    joins = f"{{% for m in messages %}}{{{{ m.content or {arguments} }}}}{{% endfor %}}"
    assert render(with_template(joins), [ASK, CALLS], False) == 'Is it blue?{"x": 1}!'


@pytest.mark.parametrize("template", [WITH_TOOLS, ALTERNATES, None])
@pytest.mark.parametrize("make", [byte_level, lambda: slow("byt5")])
def test_turns_without_loss_are_read_and_not_learned(template, make):
    tokenizer = make()
    tokenizer.chat_template = template
    tokenizer.bos_token = tokenizer.bos_token or tokenizer.pad_token
    talk = [ASK, SAY | {"content": "No.", "train": False}, ASK, SAY]
    plain = [{key: one for key, one in turn.items() if key != "train"} for turn in talk]
    [row], [whole] = (encode_conversation(one, tokenizer, 1000) for one in (talk, plain))
    assert row["input_ids"] == whole["input_ids"]
    assert [text.split("<")[0].strip() for text in learned(tokenizer, row)] == ["It is."]
    both = [text.split("<")[0].strip() for text in learned(tokenizer, whole)]
    assert both == ["No.", "It is."]


@pytest.mark.parametrize(
    ("talk", "tools", "lost"),
    [
        ([SYSTEM, ASK, SAY], None, "the system message"),
        ([ASK, SAY], [TOOL], "the tools"),
        ([ASK, CALLS], None, "tool_calls"),
        ([ASK, CALLS, REPLY, SAY], None, "tool_calls"),
        ([ASK, SAY, REPLY, SAY], None, "messages of 'tool'"),
        ([ASK, THINKS], None, "reasoning_content"),
    ],
)
def test_what_a_template_leaves_out_is_refused(talk, tools, lost):
    check_template(with_template(WITH_TOOLS), talk, tools)
    with pytest.raises(AdaptkitError, match=f"does not write {lost}, so the model would not see"):
        check_template(with_template(DEAF), talk, tools)


def test_thoughts_of_earlier_turns_may_be_left_out():
    check_template(with_template(WITH_TOOLS), [ASK, THINKS, ASK, SAY], None)


def test_a_template_that_refuses_the_system_message_says_so():
    with pytest.raises(AdaptkitError, match="template refuses .*System role not supported"):
        check_template(with_template(ALTERNATES), [SYSTEM, ASK, SAY], None)


def test_a_turn_that_the_template_rewrites_later_is_an_example_of_its_own():
    """What the model is to write, thoughts and all, after what it sees then."""
    tokenizer = with_template(WITH_TOOLS)
    talk = [ASK, THINKS, ASK, SAY | {"reasoning_content": "So?"}]
    whole, first = encode_conversation(talk, tokenizer, 1000)
    assert tokenizer.decode(whole["input_ids"]) == render(tokenizer, talk, False)
    assert learned(tokenizer, whole) == ["<think>\nSo?\n</think>\nIt is.<|im_end|>\n"]
    assert tokenizer.decode(first["input_ids"]) == render(tokenizer, talk[:2], False)
    assert learned(tokenizer, first) == ["<think>\nHm.\n</think>\nIt is.<|im_end|>\n"]
    silent = [ASK, THINKS | {"train": False}, *talk[2:]]
    [alone] = encode_conversation(silent, tokenizer, 1000)
    assert alone == whole


@pytest.mark.parametrize(
    ("last", "written"),
    [
        (SAY, "\n</think>\n\nIt is.<end>"),
        (THINKS, "Hm.\n</think>\n\nIt is.<end>"),
        (SAY | {"content": "<think>Hm.</think>It is."}, "Hm.\n</think>\n\nIt is.<end>"),
    ],
)
def test_thoughts_that_the_template_opens_are_thought_and_ended(last, written):
    tokenizer = with_template(OPENS_THOUGHTS)
    talk = [ASK, SAY, ASK, last]
    check_template(tokenizer, talk, None)
    whole, first = encode_conversation(talk, tokenizer, 1000)
    seen = render(tokenizer, talk[:-1], True)
    assert seen.endswith("<a><think>\n")
    assert tokenizer.decode(whole["input_ids"]) == seen + written
    assert learned(tokenizer, whole) == [written]
    assert learned(tokenizer, first) == ["\n</think>\n\nIt is.<end>"]


def test_thoughts_in_an_answer_that_the_template_cuts_out_are_noticed():
    talk = [ASK, SAY | {"content": "<think>Hm.</think>It is."}]
    with pytest.raises(AdaptkitError, match="does not write the thoughts in an answer"):
        check_template(with_template(WITH_TOOLS), talk, None)


def test_a_question_that_is_rewritten_once_it_is_answered_is_refused():
    odd = "{{ messages | length }}{% if add_generation_prompt %}?{% endif %}"
    with pytest.raises(AdaptkitError, match="not write a question the same way with and without"):
        encode_conversation([ASK, SAY], with_template(odd), 1000)
