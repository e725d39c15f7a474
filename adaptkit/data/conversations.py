"""Conversations: a chat template, tokens with labels on the answers, packing."""

from __future__ import annotations

import bisect
import contextlib
import json
import re
from typing import Any

from adaptkit.data.alignment import tokens_of
from adaptkit.data.chat_templates import TemplateLimit, plain, render_template
from adaptkit.data.collate import IGNORED
from adaptkit.data.messages import Message, content_of
from adaptkit.errors import AdaptkitError

ROLES = {"user", "assistant", "system", "tool"}  # roles that chat templates know

REASONING = ("reasoning_content", "thinking", "reasoning")
THOUGHTS = "</think>"  # ends them within a content
OPENED = re.compile(r"\s*<(\w+)>\s*")  # at the end of a prompt: where the model begins to think

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


def render(
    tokenizer: Any, messages: list[Message], prompt: bool, tools: list[dict] | None = None
) -> str:
    """A conversation in the model's template; with `prompt`, up to where the answer begins.

    Raises:
        AdaptkitError: the template refuses it, or runs too long.
    """
    try:
        return _rendered(tokenizer, messages, prompt, tools)
    except TemplateLimit as problem:
        raise AdaptkitError(f"the base's chat template is not used: {problem}.") from problem
    except Exception as problem:  # templates raise errors of any type
        texts = _arguments_as_texts(messages)
        if texts != messages:  # some templates write the arguments of calls as they are
            with contextlib.suppress(Exception):
                return _rendered(tokenizer, texts, prompt, tools)
        raise AdaptkitError(
            f"the chat template refuses {str(messages)[:120]}: {str(problem)[:300]}"
        ) from problem


def check_limits(tokenizer: Any) -> None:
    """Refuse a template that does too much with a short conversation."""
    try:
        render(tokenizer, [{"role": "user", "content": "Hi."}], True)
    except AdaptkitError as problem:
        if isinstance(problem.__cause__, TemplateLimit):
            raise


def _rendered(
    tokenizer: Any, messages: list[Message], prompt: bool, tools: list[dict] | None
) -> str:
    from transformers import PreTrainedTokenizerBase

    read = [{key: one for key, one in message.items() if key != "train"} for message in messages]
    own = type(tokenizer).apply_chat_template is not PreTrainedTokenizerBase.apply_chat_template
    if own:  # tokenizers that write conversations without a template
        return tokenizer.apply_chat_template(
            read, tools=tools or None, tokenize=False, add_generation_prompt=prompt
        )
    template = PLAIN_TEMPLATE
    if tokenizer.chat_template:
        template = tokenizer.get_chat_template(tools=tools or None)
    return render_template(
        template,
        **tokenizer.special_tokens_map,
        messages=[_with_reasoning(message) for message in plain(read)],
        tools=plain(tools) if tools else None,
        documents=None,
        add_generation_prompt=prompt,
    )


def _with_reasoning(message: Message) -> Message:
    """The message with its reasoning under both names that templates know."""
    reasoning = next((message[name] for name in REASONING if name in message), None)
    if reasoning is None:
        return message
    return {"thinking": reasoning} | message | {"reasoning_content": reasoning}


def _arguments_as_texts(messages: list[Message]) -> list[Message]:
    def call(given: dict[str, Any]) -> dict[str, Any]:
        function = given.get("function")
        if not isinstance(function, dict) or isinstance(function.get("arguments"), str):
            return given
        text = json.dumps(function.get("arguments"), ensure_ascii=False)
        return given | {"function": function | {"arguments": text}}

    return [
        message | {"tool_calls": [call(one) for one in message["tool_calls"]]}
        if "tool_calls" in message
        else message
        for message in messages
    ]


def check_template(tokenizer: Any, messages: list[Message], tools: list[dict] | None) -> None:
    """Refuse a conversation of which the template leaves something out.

    Raises:
        AdaptkitError: it writes the same without the tools, another system message, tool calls ...
    """
    text = whole_text(tokenizer, messages, tools)
    variants: dict[str, tuple[list[Message], list[dict] | None]] = {}
    if tools:
        variants["the tools"] = messages, None
    for role in {message["role"] for message in messages} - {"user", "assistant"}:
        # changed, not left out: a template may put a system message where there is none
        changed = [
            m | {"content": f"{m.get('content')} ."} if m["role"] == role else m for m in messages
        ]
        own = "the system message" if role == "system" else f"messages of {role!r}"
        variants[own] = changed, tools
    extra = [key for key in REASONING if messages[-1].get(key)]  # earlier ones are often left out
    extra += ["tool_calls"] if any("tool_calls" in message for message in messages) else []
    if THOUGHTS in content_of(messages[-1]):
        said = content_of(messages[-1]).rpartition(THOUGHTS)[2]
        variants["the thoughts in an answer"] = (
            [*messages[:-1], messages[-1] | {"content": said}],
            tools,
        )
    for key in extra:
        variants[key] = [{k: v for k, v in m.items() if k != key} for m in messages], tools
    for what, (others, given) in variants.items():
        if _same(tokenizer, others, given, text):
            raise AdaptkitError(
                f"the base's chat template does not write {what}, so the model would not see "
                "this. Leave it out, or take a base whose template writes them."
            )


def _same(tokenizer: Any, messages: list[Message], tools: list[dict] | None, text: str) -> bool:
    try:
        return whole_text(tokenizer, messages, tools) == text
    except AdaptkitError:  # it needs what was left out
        return False


def encode_conversation(
    messages: list[Message],
    tokenizer: Any,
    max_length: int,
    tools: list[dict] | None = None,
) -> list[dict[str, list[int]]]:
    """Encode a conversation, with labels on what the assistant is to write.

    The first example is the whole conversation. A turn has its labels there if it stands there as
    it does when it is the last one. Templates may write it otherwise, without its thoughts for one;
    what the model is to write then stands in an example of its own, which ends with that turn.
    Turns with `train: False` get no labels.
    """
    said = [turn for turn, message in enumerate(messages) if message["role"] == "assistant"]
    trained = [turn for turn in said if messages[turn].get("train", True)]
    answers = {turn: _answer(tokenizer, messages[: turn + 1], tools) for turn in trained}
    text = whole_text(tokenizer, messages, tools)
    contents = {turn: (messages[turn].get("content") or "").strip() for turn in trained}
    found = {turn: _place(text, *answers[turn], contents[turn]) for turn in trained}
    others = [answers[turn] for turn in trained if found[turn] is None]
    examples = [_labelled(tokenizer, text, [place for place in found.values() if place])]
    for before, written in others:
        end = len(before) + len(written)
        examples.append(_labelled(tokenizer, before + written, [(len(before), end, end)]))
    return [
        {
            "input_ids": tokens[-max_length:],
            "attention_mask": [1] * len(tokens[-max_length:]),
            "labels": [IGNORED, *labels[-max_length:][1:]],  # the first has no prediction
        }
        for tokens, labels in examples
    ]


def _labelled(
    tokenizer: Any, text: str, spans: list[tuple[int, int, int]]
) -> tuple[list[int], list[int]]:
    """The tokens of a text, and labels for those in spans of start, end and latest end."""
    tokens, places = tokens_of(tokenizer, text)
    labels = [
        token
        if any(start <= one < end and two <= whole for start, end, whole in spans)
        else IGNORED
        for token, (one, two) in zip(tokens, places, strict=True)
    ]
    return tokens, labels


def whole_text(tokenizer: Any, messages: list[Message], tools: list[dict] | None) -> str:
    """A conversation as the model sees it; where it ends with an answer, as it is to write that."""
    if messages[-1]["role"] != "assistant":
        return render(tokenizer, messages, False, tools)
    return "".join(_answer(tokenizer, messages, tools))


def _answer(tokenizer: Any, messages: list[Message], tools: list[dict] | None) -> tuple[str, str]:
    """What the model sees before it answers, and what it is to write: the last message.

    Some templates open the model's thoughts for it (`<think>`) and write no thoughts themselves.
    What is to be written then begins with them, or with their end.

    Raises:
        AdaptkitError: the template writes a question otherwise once it has an answer.
    """
    before = render(tokenizer, messages[:-1], True, tools)
    after = render(tokenizer, messages, False, tools)
    if after.startswith(before):
        return before, after[len(before) :]
    common = _shared_start(before, after)
    opened = OPENED.fullmatch(before[len(common) :])
    if opened is None:
        raise AdaptkitError(
            "the chat template does not write a question the same way with and without its answer."
        )
    thoughts = _thoughts(messages[-1], opened[1])
    return before, f"{thoughts}\n</{opened[1]}>\n\n{after[len(common) :].lstrip()}"


def _thoughts(message: Message, tag: str) -> str:
    """The thoughts of a message, apart or in a tag before what it says."""
    apart = next((message[name] for name in REASONING if message.get(name)), "")
    inside = re.match(rf"\s*<{tag}>(.*?)</{tag}>", message.get("content") or "", re.DOTALL)
    return (apart or (inside[1] if inside else "")).strip()


def _place(text: str, before: str, written: str, content: str) -> tuple[int, int, int] | None:
    """The start, end and latest end of an answer's tokens in the text of a whole conversation.

    None if the conversation holds it otherwise than the model is to write it. Only its end may
    differ: Phi-3 ends the last turn with one more token.
    """
    start = len(before)
    if text.startswith(before + written):
        return start, start + len(written), len(text)
    cut = written.rfind(content) + len(content)
    if not content or not text.startswith(before + written[:cut]):
        return None
    ending = _shared_start(text[start + cut :], written[cut:])
    end = start + cut + len(ending)
    return (start, end, end) if ending.strip() else None


def _shared_start(one: str, other: str) -> str:
    """The characters that both texts begin with."""
    pairs = enumerate(zip(one, other, strict=False))
    return one[: next((i for i, (a, b) in pairs if a != b), min(len(one), len(other)))]


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


def without_answer(messages: list[Message]) -> list[Message]:
    """A conversation without its last answer."""
    return messages[:-1] if messages[-1]["role"] == "assistant" else messages
