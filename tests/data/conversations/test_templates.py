"""Twelve models' templates: what carries loss in a conversation of each kind, or why none does."""

import pytest

from adaptkit import AdaptkitError
from adaptkit.data.conversations.checks import check_template
from adaptkit.data.conversations.examples import encode_conversation
from adaptkit.data.conversations.rendering import render
from tests.helpers.model_templates import TEMPLATES, tokenizer_of
from tests.helpers.talks import (
    ASK,
    CALLS,
    REPLY,
    SAY,
    SYSTEM,
    THINKS,
    TOOL,
    learned,
    seen_before,
)

NO, SO = SAY | {"content": "No."}, SAY | {"reasoning_content": "So?"}
TALKS = {
    "plain": [ASK, SAY],
    "system": [SYSTEM, ASK, SAY],
    "turns": [ASK, NO, ASK, SAY],
    "system, turns": [SYSTEM, ASK, NO, ASK, SAY],
    "tools": [ASK, CALLS, REPLY, SAY],
    "thinking": [ASK, THINKS, ASK, SO],
}
QWEN_CALL = '<tool_call>\n{"name": "look", "arguments": {"x": 1}}\n</tool_call><|im_end|>\n'
THOUGHT = "<|channel|>analysis<|message|>"
FINAL = "<|channel|>final<|message|>"
NO_CONTENT = "template refuses .*no attribute 'content'"
NO_TOOLS, NO_CALLS = "does not write the tools", "does not write tool_calls"
NO_THOUGHTS = "does not write reasoning_content"

# How each template ends an answer, and a call; or how it refuses one. Then the thoughts.
WRITES = {
    "ChatML": ("{}<|im_end|>\n", NO_CONTENT, NO_THOUGHTS),
    "Zephyr": ("{}[SEP]\n", NO_CONTENT, NO_THOUGHTS),
    "Llama 2": (" {} [SEP]", NO_CONTENT, NO_THOUGHTS),
    "Llama 3.1": (
        "{}<|eot_id|>",
        ['{"name": "look", "parameters": {"x": 1}}<|eot_id|>'],
        NO_THOUGHTS,
    ),
    "Mistral": (
        " {}[SEP]",
        ['[TOOL_CALLS] [{"name": "look", "arguments": {"x": 1}, "id": "abcdefghi"}][SEP]'],
        NO_THOUGHTS,
    ),
    "Gemma": ("{}<end_of_turn>\n", NO_CALLS, NO_THOUGHTS),
    "Phi 3": ("{}<|end|>\n[SEP]", NO_CONTENT, NO_THOUGHTS),
    "Qwen 2.5": ("{}<|im_end|>\n", [QWEN_CALL], NO_THOUGHTS),
    "Qwen 3": (
        "<think>\n\n</think>\n\n{}<|im_end|>\n",
        [f"<think>\n\n</think>\n\n{QWEN_CALL}"],
        [f"<think>\n{one}\n</think>\n\nIt is.<|im_end|>\n" for one in ("Hm.", "So?")],
    ),
    "DeepSeek R1": (
        "\n</think>\n\n{}[SEP]",
        NO_TOOLS,
        [f"{one}\n</think>\n\nIt is.[SEP]" for one in ("Hm.", "So?")],
    ),
    "gpt-oss": (
        FINAL + "{}<|return|>",
        [' to=functions.look<|channel|>commentary json<|message|>{"x": 1}<|call|>'],
        [
            f"{THOUGHT}{one}<|end|><|start|>assistant{FINAL}It is.<|return|>"
            for one in ("Hm.", "So?")
        ],
    ),
    "SmolVLM": (" {}<end_of_utterance>\n", NO_CONTENT, NO_THOUGHTS),
}
NO_SYSTEM = {"Gemma": "template refuses .*System role not supported"}


def wanted(name, kind):
    """What the model is to write in each turn, or how the conversation is refused."""
    answer, call, thoughts = WRITES[name]
    no, yes = answer.format("No."), answer.format("It is.")
    if "system" in kind and name in NO_SYSTEM:
        return NO_SYSTEM[name]
    if kind == "tools":
        return call if isinstance(call, str) else [*call, yes]
    if kind == "thinking":
        return thoughts
    if "turns" in kind and name == "Phi 3":  # one token more at the end of all
        return [no.removesuffix("[SEP]"), yes]
    return [no, yes] if "turns" in kind else [yes]


@pytest.mark.parametrize("kind", TALKS)
@pytest.mark.parametrize("name", TEMPLATES)
def test_what_the_model_is_to_write_carries_loss_behind_what_it_sees_then(name, kind):
    """Each turn once, whichever example it is in."""
    tokenizer, talk = tokenizer_of(name), TALKS[kind]
    tools = [TOOL] if kind == "tools" else None
    texts = wanted(name, kind)
    if isinstance(texts, str):
        with pytest.raises(AdaptkitError, match=texts):
            check_template(tokenizer, talk, tools)
        return
    check_template(tokenizer, talk, tools)
    rows = encode_conversation(talk, tokenizer, 1000, tools)
    turns = [turn for turn, message in enumerate(talk) if message["role"] == "assistant"]
    prompts = {render(tokenizer, talk[:turn], True, tools): turn for turn in turns}
    found = {
        prompts[before]: text
        for row in rows
        for before, text in zip(seen_before(tokenizer, row), learned(tokenizer, row), strict=True)
    }
    assert found == dict(zip(turns, texts, strict=True))
    assert sum(len(learned(tokenizer, row)) for row in rows) == len(turns)
