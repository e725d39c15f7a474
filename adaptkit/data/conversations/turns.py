"""The turns of a conversation: what the model sees before each, and what it is to write."""

from __future__ import annotations

import contextlib
import re
from typing import Any

from adaptkit.data.conversations.rendering import REASONING, render
from adaptkit.data.messages import Message
from adaptkit.errors import AdaptkitError

THOUGHTS = "</think>"  # ends them within a content

OPENED = re.compile(r"\s*<(\w+)>\s*\Z")  # at the end of a prompt: where the model begins to think

_BEFORE = ("system", "developer", "assistant")  # what may be said before a question


def trained_turns(messages: list[Message]) -> list[int]:
    """The turns that carry loss: those of the assistant, but for `train: False` and greetings.

    A greeting has nothing before it that the model could have been asked.
    """
    asked = next((i for i, one in enumerate(messages) if one["role"] != "assistant"), 0)
    return [
        turn
        for turn, message in enumerate(messages)
        if message["role"] == "assistant" and turn > asked and message.get("train", True)
    ]


def without_answer(messages: list[Message]) -> list[Message]:
    """A conversation without its last answer."""
    return messages[:-1] if messages[-1]["role"] == "assistant" else messages


def without_greeting(
    tokenizer: Any, messages: list[Message], tools: list[dict] | None
) -> list[Message]:
    """The conversation, without answers before its first question where the template has none."""
    asked = next((i for i, one in enumerate(messages) if one["role"] not in _BEFORE), 0)
    greetings = [i for i in range(asked) if messages[i]["role"] == "assistant"]
    if not greetings:
        return messages
    with contextlib.suppress(AdaptkitError):
        text = render(tokenizer, messages[: asked + 1], True, tools)
        for turn in trained_turns(messages[:asked]):
            answer_of(tokenizer, messages[: turn + 1], tools)
        if all(said_in(messages[i]) in text for i in greetings):
            return messages
    return [message for i, message in enumerate(messages) if i not in greetings]


def whole_text(tokenizer: Any, messages: list[Message], tools: list[dict] | None) -> str:
    """A conversation as the model sees it; where it ends with an answer, as it is to write that."""
    if len(messages) - 1 in trained_turns(messages):
        return "".join(answer_of(tokenizer, messages, tools))
    return render(tokenizer, messages, False, tools)


def answer_of(tokenizer: Any, messages: list[Message], tools: list[dict] | None) -> tuple[str, str]:
    """What the model sees before it answers, and what it is to write: the last message.

    Some templates open the model's thoughts for it (`<think>`) and write no thoughts themselves.
    What is to be written then begins with them, or with their end. Others write what is before a
    question otherwise once it has an answer: Mistral's leaves out the system message.

    Raises:
        AdaptkitError: the template writes the question itself otherwise once it has an answer.
    """
    before = render(tokenizer, messages[:-1], True, tools)
    after = render(tokenizer, messages, False, tools)
    if after.startswith(before):
        return before, after[len(before) :]
    header = _header(tokenizer, messages, tools, after)
    question = said_in(messages[-2]) if len(messages) > 1 else ""
    if (start := _answer_start(before, header, question)) is not None:
        return before, after[start:]
    opened = OPENED.search(before)
    start = _answer_start(before[: opened.start()], header, question) if opened else None
    if opened is None or start is None:
        common = len(shared_start(before, after))
        raise AdaptkitError(
            "the chat template does not write a question the same way with and without its answer: "
            f"{before[common:][:60]!r} stands before an answer where the whole conversation has "
            f"{after[common:][:60]!r}."
        )
    tag, written = opened[1], after[start:].lstrip()
    if written.startswith(f"<{tag}>"):  # it writes thoughts as they are given
        return before, written.removeprefix(f"<{tag}>").lstrip()
    return before, f"{_thoughts(messages[-1], tag)}\n</{tag}>\n\n{written}"


def _header(tokenizer: Any, messages: list[Message], tools: list[dict] | None, after: str) -> str:
    """The text of a conversation up to its last answer: what it shares with one of another end."""
    other = {"role": "assistant", "content": "?"}
    with contextlib.suppress(AdaptkitError):
        return shared_start(after, render(tokenizer, [*messages[:-1], other], False, tools))
    return after


def _answer_start(before: str, header: str, question: str) -> int | None:
    """Where the answer begins behind a header that ends as `before` does, from the question on."""
    if header.startswith(before):
        return len(before)
    asked = before.rfind(question) if question else -1
    place = header.rfind(before[asked:]) if asked >= 0 else -1
    return place + len(before) - asked if place >= 0 else None


def _thoughts(message: Message, tag: str) -> str:
    """The thoughts of a message, apart or in a tag before what it says."""
    apart = next((message[name] for name in REASONING if message.get(name)), "")
    inside = re.match(rf"\s*(?:<{tag}>)?(.*?)</{tag}>", message.get("content") or "", re.DOTALL)
    return (apart or (inside[1] if inside else "")).strip()


def said_in(message: Message) -> str:
    """What a message says, without thoughts."""
    content = message.get("content") or ""
    if message["role"] == "assistant":
        content = content.rpartition(THOUGHTS)[2]
    return content.strip()


def shared_start(one: str, other: str) -> str:
    """The characters that both texts begin with."""
    pairs = enumerate(zip(one, other, strict=False))
    return one[: next((i for i, (a, b) in pairs if a != b), min(len(one), len(other)))]
