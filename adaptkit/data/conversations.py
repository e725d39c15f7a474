"""Conversations: a chat template, tokens with labels on the answers, packing."""

from __future__ import annotations

import bisect
import json
from typing import Any

from adaptkit.data.alignment import tokens_of
from adaptkit.data.collate import IGNORED
from adaptkit.data.tables import Table
from adaptkit.errors import AdaptkitError

ROLES = {"user", "assistant", "system", "tool"}  # roles that chat templates know


# For tokenizers without a template.
PLAIN_TEMPLATE = (
    "{{ bos_token or '' }}{% for message in messages %}{{ message['role'] | capitalize }}: {{ "
    "message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token or '' }}{% endif %}{{ '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}"
)


def template_of(tokenizer: Any, system: str | None) -> Any:
    """The tokenizer's chat template, or the plain one.

    It puts `system` before conversations without a system message.
    """
    template = tokenizer.chat_template or PLAIN_TEMPLATE
    if not system:
        return template
    if isinstance(template, dict):  # several, by name
        return {name: _before(system, one) for name, one in template.items()}
    return _before(system, template)


def _before(system: str, template: str) -> str:
    message = "{'role': 'system', 'content': " + json.dumps(system, ensure_ascii=False) + "}"
    return (
        "{% if messages[0]['role'] != 'system' %}{% set messages = ["
        + message
        + "] + messages %}{% endif %}\n"
        + template
    )


def render(tokenizer: Any, messages: list[dict[str, str]], prompt: bool) -> str:
    """A conversation in the model's template; with `prompt`, up to where the answer begins."""
    template = None if tokenizer.chat_template else PLAIN_TEMPLATE
    try:
        return tokenizer.apply_chat_template(
            messages, chat_template=template, tokenize=False, add_generation_prompt=prompt
        )
    except Exception as problem:  # templates raise errors of any type
        raise AdaptkitError(
            f"the chat template refuses {str(messages)[:120]}: {problem}"
        ) from problem


def encode_conversation(
    messages: list[dict[str, str]], tokenizer: Any, max_length: int
) -> dict[str, list[int]]:
    """Encode a conversation, with labels on the assistant's answers and their end tokens.

    The template is rendered up to each answer to find the answers' positions in the text; the text
    is tokenized once.
    """
    text = render(tokenizer, messages, False)
    spans = []
    for turn, message in enumerate(messages):
        if message["role"] == "assistant":
            before, after = (
                render(tokenizer, messages[:turn], True),
                render(tokenizer, messages[: turn + 1], False),
            )
            if place := _turn(text, before, after, message["content"].strip()):
                spans.append(place)
            elif turn == len(messages) - 1:
                raise AdaptkitError(
                    "the chat template does not write a question the same way with and without "
                    "its answer."
                )
    tokens, places = tokens_of(tokenizer, text)
    labels = [
        token
        if any(start <= one < end and two <= whole for start, end, whole in spans)
        else IGNORED
        for token, (one, two) in zip(tokens, places, strict=True)
    ]
    ids, labels = tokens[-max_length:], labels[-max_length:]
    labels[:1] = [IGNORED]  # the first token has no prediction
    return {"input_ids": ids, "attention_mask": [1] * len(ids), "labels": labels}


def _turn(text: str, before: str, after: str, content: str) -> tuple[int, int, int] | None:
    """The start, end and latest end of a turn's tokens in the text.

    None if the template changes the content of the turn.

    Args:
        text: the whole conversation.
        before, after: the conversation up to the turn, and with it as the last one.
    """
    if not text.startswith(before):
        return None
    if text.startswith(after):
        return len(before), len(after), len(text)
    # Some templates write the last turn differently (Phi-3 ends it with one more token, Qwen3 adds
    # its thinking): find the content, and after it what both versions have in common, in whole
    # tokens.
    place = text.find(content, len(before))
    if place < 0 or not content:
        return None
    end, ending = place + len(content), after[after.rfind(content) + len(content) :]
    while ending and not text.startswith(ending, end):
        ending = ending[:-1]
    return len(before), end + len(ending), end + len(ending)


def pack(rows: list[dict[str, list[int]]], max_length: int) -> list[dict[str, list[int]]]:
    """Pack conversations, longest first, into rows of at most `max_length` tokens.

    Positions restart with each conversation.
    """
    packed: list[dict[str, list[int]]] = []
    rooms: list[tuple[int, int]] = []  # free space and index of each row; the fullest first
    for row in sorted(rows, key=lambda row: -len(row["input_ids"])):
        taken = len(row["input_ids"])
        found = bisect.bisect_left(rooms, (taken, 0))
        if found == len(rooms):
            packed.append({"input_ids": [], "labels": [], "position_ids": []})
            rooms.append((max_length, len(packed) - 1))
        free, index = rooms.pop(found)
        bisect.insort(rooms, (free - taken, index))
        packed[index]["input_ids"] += row["input_ids"]
        packed[index]["labels"] += row["labels"]
        packed[index]["position_ids"] += range(taken)
    return packed


def without_answer(messages: list[dict[str, str]]) -> list[dict[str, str]]:
    """A conversation without its last answer."""
    return messages[:-1] if messages[-1]["role"] == "assistant" else messages


def check_messages(table: Table, index: int, messages: Any) -> None:
    if not isinstance(messages, list) or not messages:
        raise table.bad(
            index,
            'messages should be [{"role": "user", "content": ...}, ...]; they are '
            f"{str(messages)[:80]!r}.",
        )
    for message in messages:
        if (
            not isinstance(message, dict)
            or not isinstance(message.get("role"), str)
            or not isinstance(message.get("content"), str)
        ):
            raise table.bad(
                index,
                'a message should be {"role": "user", "content": "..."}; one is '
                f"{str(message)[:80]}.",
            )
