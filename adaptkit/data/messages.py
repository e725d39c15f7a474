"""The messages of a conversation, read and checked.

{"role": "user", "content": "Is it blue?"}. Besides: a list of text parts as `content`; `tool_calls`
of an assistant; `weight: 0` or `train: false` for a turn that carries no loss; and ShareGPT's form,
{"from": "human", "value": "Is it blue?"}.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

from adaptkit.data.tables import Table

Message = dict[str, Any]

MEDIA = ("images", "image", "videos", "video", "audios", "audio")

# ShareGPT's roles, with what LLaMA-Factory has added: calls and their results.
SHAREGPT = {
    "human": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "model": "assistant",
    "function_call": "assistant",
    "observation": "tool",
    "function_response": "tool",
}

_WEIGHTS = ("weight", "train", "training", "loss")  # how trainers say that a turn carries loss


def read_messages(table: Table, index: int, messages: Any) -> list[Message]:
    """The messages of a row, with texts as content; `train` is False for turns without loss.

    Raises:
        AdaptkitError: they are no messages, or hold what a text model cannot read.
    """
    if not isinstance(messages, list) or not messages:
        raise table.bad(
            index,
            'messages should be [{"role": "user", "content": ...}, ...]; they are '
            f"{str(messages)[:80]!r}.",
        )
    return [_message(table, index, message) for message in messages]


def _message(table: Table, index: int, given: Any) -> Message:
    if isinstance(given, dict) and isinstance(given.get("from"), str) and "role" not in given:
        given = _from_sharegpt(table, index, given)
    if not isinstance(given, dict) or not isinstance(given.get("role"), str):
        raise _no_message(table, index, given)
    message = {key: value for key, value in given.items() if value is not None}
    if isinstance(message.get("content"), list):
        message["content"] = "".join(_text(table, index, part) for part in message["content"])
    if refused := message.pop("refusal", None):
        if message.get("content") or not isinstance(refused, str):
            raise table.bad(index, "a message holds a content and a refusal; leave one.")
        message["content"] = refused
    if lost := [key for key in (*MEDIA, "function_call") if message.get(key)]:
        instead = "give tool_calls" if lost[0] == "function_call" else "chat reads texts only"
        raise table.bad(index, f"a message of {given['role']!r} holds {lost[0]}: {instead}.")
    if calls := message.pop("tool_calls", None):
        message["tool_calls"] = _calls(table, index, calls)
    if not isinstance(message.get("content"), str) and not (calls and "content" not in message):
        raise _no_message(table, index, given)
    return _with_loss(table, index, message)


def _from_sharegpt(table: Table, index: int, given: Message) -> Message:
    """{"from": ..., "value": ...} as a message; a function_call becomes a tool call."""
    name, said = given["from"], given.get("value")
    message = {key: one for key, one in given.items() if key not in ("from", "value")}
    message["role"] = SHAREGPT.get(name, name)
    if name != "function_call":
        return message | {"content": said}
    calls = _json(said)
    calls = calls if isinstance(calls, list) else [calls]
    if not all(isinstance(call, dict) and isinstance(call.get("name"), str) for call in calls):
        raise table.bad(
            index,
            'a function_call should be {"name": ..., "arguments": {...}} as JSON; it is '
            f"{str(said)[:80]!r}.",
        )
    return message | {"tool_calls": [{"type": "function", "function": call} for call in calls]}


def _json(text: Any) -> Any:
    """What a text holds as JSON, or the value itself."""
    try:
        return json.loads(text) if isinstance(text, str) else text
    except ValueError:
        return text


def _no_message(table: Table, index: int, given: Any) -> Exception:
    return table.bad(
        index,
        f'a message should be {{"role": "user", "content": "..."}}; one is {str(given)[:80]}.',
    )


def _text(table: Table, index: int, part: Any) -> str:
    """The text of a part of a content."""
    if isinstance(part, str):
        return part
    kind = part.get("type", "text") if isinstance(part, dict) else None
    if kind not in ("text", "refusal") or not isinstance(part.get(kind), str):
        what = f"a part of type {kind!r}" if kind else str(part)[:40]
        raise table.bad(index, f"a message holds {what}; chat reads texts only, without images.")
    return part[kind]


def _with_loss(table: Table, index: int, message: Message) -> Message:
    """The message with `train: False` if it carries no loss, and without other words for it."""
    marks = {key: message.pop(key) for key in _WEIGHTS if key in message}
    for key, value in marks.items():
        if value not in (0, 1):
            raise table.bad(index, f"{key} of a message is 0 or 1, false or true; it is {value!r}.")
        if value and message["role"] != "assistant":
            raise table.bad(
                index,
                f"a message of {message['role']!r} has {key}: {value!r}, but only what the "
                f"assistant says carries loss. Leave {key} out there.",
            )
    return message if all(marks.values()) else message | {"train": False}


def _calls(table: Table, index: int, calls: Any) -> list[dict[str, Any]]:
    """Tool calls, with arguments as objects, as templates expect them."""
    if not isinstance(calls, list) or not all(isinstance(call, dict) for call in calls):
        raise table.bad(
            index, f"tool_calls should be a list of objects; they are {str(calls)[:80]}."
        )
    return [_without_none(call) | _call(table, index, call) for call in calls]


def _call(table: Table, index: int, call: dict[str, Any]) -> dict[str, Any]:
    function = call.get("function", call)
    if not isinstance(function, dict) or "arguments" not in function:
        return {}
    given = function["arguments"]
    arguments = _json(given.strip() or "{}") if isinstance(given, str) else given
    arguments = {} if arguments is None else arguments
    if not isinstance(arguments, dict):
        raise table.bad(
            index,
            f"the arguments of a tool call should be a JSON object; they are {str(given)[:80]!r}.",
        )
    parsed = _without_none(function) | {"arguments": arguments}
    return {"function": parsed} if "function" in call else parsed


def _without_none(value: dict[str, Any]) -> dict[str, Any]:
    return {key: one for key, one in value.items() if one is not None}


def read_tools(
    table: Table, index: int, row: dict[str, Any], column: str = "tools"
) -> list[dict[str, Any]]:
    """The tools of a row: a list of objects, or its JSON.

    Raises:
        AdaptkitError: they are no list of objects, or the row holds what a text model cannot read.
    """
    if lost := [key for key in (*MEDIA, "functions") if row.get(key)]:
        instead = "give them as tools" if lost[0] == "functions" else "chat reads texts only"
        raise table.bad(
            index, f"the row has {lost[0]}, which would be lost: {instead}. Or take the column out."
        )
    tools = row.get(column)
    if isinstance(tools, str) and tools.strip():
        try:
            tools = json.loads(tools)
        except ValueError as problem:
            raise table.bad(index, f"tools hold no JSON ({problem}): {tools[:80]!r}.") from None
    if not tools or (isinstance(tools, str) and not tools.strip()):
        return []
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        raise table.bad(index, f"tools should be a list of objects; they are {str(tools)[:80]}.")
    return tools


def read_before(
    table: Table, index: int, row: dict[str, Any], taken: Collection[str] = ()
) -> list[Message]:
    """What comes before a prompt: a `system` text, and a `history` of pairs, question and answer.

    These columns are LLaMA-Factory's. The answers of the history carry loss too.

    Args:
        taken: columns that are read as something else.

    Raises:
        AdaptkitError: a column holds something else.
    """
    found: list[Message] = []
    system = row.get("system") if "system" not in taken else None
    if system not in (None, ""):
        if not isinstance(system, str):
            raise table.bad(index, f"system should be a text; it is {str(system)[:80]}.")
        found.append({"role": "system", "content": system})
    history = row.get("history") if "history" not in taken else None
    if history in (None, "", []):
        return found
    if not isinstance(history, list) or not all(_is_pair(pair) for pair in history):
        raise table.bad(
            index,
            f"history should be pairs [[question, answer], ...]; it is {str(history)[:80]}.",
        )
    for question, answer in history:
        found += [
            {"role": "user", "content": question},
            {"role": "assistant", "content": answer},
        ]
    return found


def _is_pair(value: Any) -> bool:
    return isinstance(value, list) and list(map(type, value)) == [str, str]


def refuse_weight(table: Table, index: int, row: dict[str, Any]) -> None:
    """Refuse a row that says of itself that it should not be trained on."""
    for name in _WEIGHTS:
        if row.get(name) in (0, "0"):
            raise table.bad(index, f"the row has {name}: {row[name]!r}; leave it out of the file.")


def content_of(message: Message) -> str:
    """What a message says, or its tool calls."""
    calls = message.get("tool_calls")
    return message.get("content") or (json.dumps(calls, ensure_ascii=False) if calls else "")
