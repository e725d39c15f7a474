"""Whether a chat template writes all that a conversation holds.

One field of one message is changed at a time: a content, a call, its arguments, thoughts, a name.
If the template then writes the same text, it does not write the field. What a template does with
a field depends on where it stands, so each is tried once for each place.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Any

from adaptkit.data.conversations.rendering import REASONING
from adaptkit.data.conversations.turns import (
    THOUGHTS,
    answer_of,
    said_in,
    trained_turns,
    whole_text,
)
from adaptkit.data.messages import Message
from adaptkit.errors import AdaptkitError

NAMES = {"system": "the system message", "assistant": "what the assistant says"}


@dataclass(frozen=True)
class Field:
    """A field of a conversation, and the conversation with another value there.

    place: what decides whether a template writes it.
    end: the last message of the text in which it should stand.
    """

    what: str
    place: Hashable
    end: int
    messages: list[Message]
    tools: list[dict] | None


def check_template(
    tokenizer: Any,
    messages: list[Message],
    tools: list[dict] | None,
    known: set[Hashable] | None = None,
) -> None:
    """Refuse a conversation of which the template leaves something out.

    A field of a turn that carries loss should stand in what the model is to write there; any other
    in what the model sees before the next such turn.

    Args:
        known: places of fields that the template is known to write; those that are tried are added.

    Raises:
        AdaptkitError: it writes the same without the tools, another system message, tool calls ...
    """
    known = set() if known is None else known
    texts: dict[int, str] = {}
    for field in _fields(messages, tools):
        if field.place in known:
            continue
        if field.end not in texts:
            texts[field.end] = whole_text(tokenizer, messages[: field.end + 1], tools)
        if _same(tokenizer, field, texts[field.end]):
            raise _not_written(field.what)
        known.add(field.place)
    for turn, message in enumerate(messages):
        if message["role"] == "assistant" and THOUGHTS in (message.get("content") or ""):
            _check_thoughts(tokenizer, messages, turn, tools)


def _not_written(what: str) -> AdaptkitError:
    return AdaptkitError(
        f"the base's chat template does not write {what}, so the model would not see this. Leave "
        "it out, or take a base whose template writes it."
    )


def _same(tokenizer: Any, field: Field, text: str) -> bool:
    try:
        return whole_text(tokenizer, field.messages[: field.end + 1], field.tools) == text
    except AdaptkitError:  # it reads the field
        return False


def _fields(messages: list[Message], tools: list[dict] | None) -> Iterator[Field]:
    trained, last = trained_turns(messages), len(messages) - 1
    shapes = [None, *map(_shape, messages), None]
    for turn, message in enumerate(messages):
        end = next((one for one in trained if one >= turn), last)
        place = (*shapes[turn : turn + 3], messages[0]["role"], turn > 0, min(end - turn, 2))
        for key, what, changed in _changed(message, turn == end and turn in trained):
            others = [*messages[:turn], changed, *messages[turn + 1 :]]
            yield Field(what, (key, *place, bool(tools)), end, others, tools)
    end = next(iter(trained), last)
    for number, tool in enumerate(tools or []):
        others = [*(tools or [])[:number], _renamed(tool), *(tools or [])[number + 1 :]]
        place = ("tool", _keys(tool), min(number, 2), messages[0]["role"], end == last)
        yield Field("the tools", place, end, messages, others)


def _changed(message: Message, written: bool) -> Iterator[tuple[Hashable, str, Message]]:
    """A message with another value in one of its fields, for each; and how the field is called.

    written: whether the model is to write the message; otherwise thoughts may be left out.
    """
    role, calls = message["role"], message.get("tool_calls") or []
    if said_in(message):
        what = NAMES.get(role, f"messages of {role!r}")
        what = "what the assistant says beside tool calls" if calls else what
        yield "content", what, message | {"content": f"{message['content']} ."}
    thoughts = [name for name in REASONING if message.get(name)]
    if thoughts and written:
        yield "thoughts", thoughts[0], message | {name: f"{message[name]} ." for name in thoughts}
    if message.get("name") and role not in ("tool", "function"):  # a call has that name already
        yield "name", f"the name of messages of {role!r}", message | {"name": f"{message['name']}x"}
    for number, call in enumerate(calls):
        what = f"tool_calls (number {number + 1} of a message)" if number else "tool_calls"
        for key, other in (("call", _renamed(call)), ("arguments", _other_arguments(call))):
            others = [*calls[:number], other, *calls[number + 1 :]]
            if other != call:
                yield (key, min(number, 2)), what, message | {"tool_calls": others}


def _shape(message: Message) -> Hashable:
    """What a template may look at before it writes a message."""
    return (
        message["role"],
        bool(said_in(message)),
        THOUGHTS in (message.get("content") or ""),
        any(message.get(name) for name in REASONING),
        min(len(message.get("tool_calls") or []), 3),
    )


def _keys(tool: dict[str, Any]) -> Hashable:
    function = tool.get("function")
    return tuple(tool), tuple(function) if isinstance(function, dict) else ()


def _renamed(function: dict[str, Any]) -> dict[str, Any]:
    """A tool or call of another name."""
    inner = function.get("function")
    if isinstance(inner, dict):
        return function | {"function": _renamed(inner)}
    return function | {"name": f"{function['name']}x"} if "name" in function else {}


def _other_arguments(call: dict[str, Any]) -> dict[str, Any]:
    """A call with one argument more, if its arguments are an object."""
    inner = call.get("function")
    if isinstance(inner, dict):
        return call | {"function": _other_arguments(inner)}
    given = call.get("arguments")
    return call | {"arguments": given | {"another": 1}} if isinstance(given, dict) else call


def _check_thoughts(
    tokenizer: Any, messages: list[Message], turn: int, tools: list[dict] | None
) -> None:
    """Refuse an answer in which `</think>` is read otherwise than it is meant.

    It ends thoughts if `<think>` is before them, or a line ends at it. Elsewhere it is mentioned.
    """
    content = messages[turn]["content"]
    trained = turn in trained_turns(messages)
    if trained:
        text = answer_of(tokenizer, messages[: turn + 1], tools)[1]
    else:
        text = whole_text(tokenizer, messages, tools)
    thoughts, _, said = content.partition(THOUGHTS)
    opened = re.match(r"\s*<think>", thoughts)
    ends = opened or thoughts.endswith("\n") or said.startswith("\n")
    if (said if ends else content).strip() not in text:
        raise AdaptkitError(
            f"the base's chat template reads {THOUGHTS} as the end of thoughts where the assistant "
            f"says {content[:60]!r}, so what is before it would be lost or thought. Write the tag "
            "in another way there."
        )
    if trained and ends and thoughts[opened.end() if opened else 0 :].strip() not in text:
        raise _not_written("the thoughts in an answer")
