"""A conversation as a text, in the model's chat template."""

from __future__ import annotations

import contextlib
import functools
import json
from typing import Any

from adaptkit.data.chat_templates import TemplateLimit, plain, render_template
from adaptkit.data.messages import Message
from adaptkit.errors import AdaptkitError

ROLES = {"user", "assistant", "system", "tool"}  # roles that chat templates know

REASONING = ("reasoning_content", "thinking", "reasoning")

# For tokenizers without a template.
PLAIN_TEMPLATE = (
    "{{ bos_token or '' }}{% for message in messages %}{{ message['role'] | capitalize }}: {{ "
    "message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token or '' }}{% endif %}{{ '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}"
)

# Before a template that reads parts only.
_TO_PARTS = (
    "{% set shown = namespace(all=[]) %}{% for message in messages %}"
    "{% if message.content is string %}{% set text = {'type': 'text', 'text': message.content} %}"
    "{% set message = dict(message, content=[text]) %}{% endif %}"
    "{% set shown.all = shown.all + [message] %}{% endfor %}{% set messages = shown.all %}\n"
)


def template_of(tokenizer: Any, system: str | None) -> Any:
    """The tokenizer's chat template, or the plain one.

    It puts `system` before conversations without a system message, and takes texts as contents.
    """

    def prepared(template: str) -> str:
        if _reads_parts(template, _special_tokens(tokenizer)):
            template = _TO_PARTS + template
        return _before(system, template) if system else template

    template = tokenizer.chat_template or PLAIN_TEMPLATE
    if isinstance(template, dict):  # several, by name
        return {name: prepared(one) for name, one in template.items()}
    return prepared(template)


def _special_tokens(tokenizer: Any) -> tuple[tuple[str, str], ...]:
    given = tokenizer.special_tokens_map.items()
    return tuple((name, token) for name, token in given if isinstance(token, str))


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
    shown = [_with_reasoning(message) for message in plain(read)]
    if _reads_parts(template, _special_tokens(tokenizer)):
        shown = [_in_parts(message) for message in shown]
    return render_template(
        template,
        **tokenizer.special_tokens_map,
        messages=shown,
        tools=plain(tools) if tools else None,
        documents=None,
        add_generation_prompt=prompt,
    )


@functools.lru_cache(maxsize=32)
def _reads_parts(template: str, special_tokens: tuple[tuple[str, str], ...]) -> bool:
    """Whether a template writes contents only where they are lists of parts.

    So do templates of models that see images: they leave out a text without a word.
    """

    def written(content: Any) -> str:
        try:
            return render_template(
                template,
                **dict(special_tokens),
                messages=[{"role": "user", "content": content}],
                tools=None,
                documents=None,
                add_generation_prompt=True,
            )
        except TemplateLimit:
            raise
        except Exception:  # templates raise errors of any type
            return ""

    if written("Is it blue?") != written("It is."):
        return False
    one, other = ([{"type": "text", "text": text}] for text in ("Is it blue?", "It is."))
    return written(one) != written(other)


def _in_parts(message: Message) -> Message:
    if not isinstance(message.get("content"), str):
        return message
    return message | {"content": [{"type": "text", "text": message["content"]}]}


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
