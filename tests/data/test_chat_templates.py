"""Templates are rendered as transformers renders them, and none runs or grows without end."""

import time

import pytest

from adaptkit import AdaptkitError
from adaptkit.data.chat_templates import TemplateLimit, render_template
from adaptkit.data.conversations.rendering import check_limits, render
from tests.helpers.templates import ALTERNATES, DEAF, FILTERS, WITH_TOOLS
from tests.helpers.tokenizers import byte_level

TALK = [
    {"role": "user", "content": "  Where is\nmy <b>kettle</b>? \u00e9 "},
    {"role": "assistant", "content": "On its way.", "reasoning_content": "Hm."},
    {"role": "user", "content": "Thanks for telling me, I have waited for it."},
    {"role": "assistant", "content": "Gladly!", "thinking": "So kind."},
]
SYSTEM = {"role": "system", "content": "Be brief."}
CALL = {"type": "function", "function": {"name": "look", "arguments": {"for": "kettle"}}}
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"for": "\u00e9"}}}
CALLS = [
    SYSTEM,
    TALK[0],
    {"role": "assistant", "tool_calls": [CALL, CALL]},
    {"role": "tool", "content": "in Bern"},
    {"role": "tool", "content": "in Basel"},
    TALK[1],
]


@pytest.mark.parametrize("template", [WITH_TOOLS, ALTERNATES, DEAF, FILTERS])
@pytest.mark.parametrize("tools", [None, [TOOL]])
@pytest.mark.parametrize("talk", [TALK, TALK[:3], [SYSTEM, *TALK], CALLS])
def test_templates_are_rendered_as_by_transformers(template, tools, talk):
    tokenizer = byte_level()
    tokenizer.bos_token, tokenizer.chat_template = "[CLS]", template
    prompt = talk[-1]["role"] == "user"

    def of(write):
        try:
            return write()
        except Exception as problem:
            return type(problem)

    given = {"tools": tools, "tokenize": False, "add_generation_prompt": prompt}
    wanted = of(lambda: tokenizer.apply_chat_template(talk, **given))
    own = of(lambda: render(tokenizer, talk, prompt, tools))
    assert own == wanted or (own is AdaptkitError and isinstance(wanted, type))


LOOP = "{% for a in range(99999) %}"
DOUBLE = "{% set ns = namespace(x=START) %}{% for a in range(99) %}BODY{% endfor %}{{ ns.x }}"


def double(start, body):
    return DOUBLE.replace("START", start).replace("BODY", body)


HOSTILE = {
    "nested loops": f"{LOOP}{LOOP}{{% endfor %}}{{% endfor %}}",
    "loops that skip": f"{LOOP}{LOOP.replace(' %}', ' if false %}')}{{% endfor %}}{{% endfor %}}",
    "a filter in a loop": f"{LOOP}{{{{ range(99999) | sum }}}}{{% endfor %}}",
    "a recursive macro": (
        "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(99) }}"
    ),
    "repetition": "{{ 'a' * 10 ** 12 }}",
    "a list": "{{ [1] * 10 ** 12 }}",
    "powers": "{{ 10 ** 10 ** 10 }}" + double("10", "{% set ns.x = ns.x * ns.x %}"),
    "concatenation": double("'aaaa'", "{% set ns.x = ns.x ~ ns.x %}"),
    "addition": double("'aaaa'", "{% set ns.x = ns.x + ns.x %}"),
    "lists": double("[1]", "{% set ns.x = ns.x + ns.x %}"),
    "a block": double("'aaaa'", "{% set y %}{{ ns.x }}{{ ns.x }}{% endset %}{% set ns.x = y %}"),
    "nested lists": double("[1]", "{% set ns.x = [ns.x, ns.x] %}"),
    "nested objects": double("1", "{% set ns.x = {'a': ns.x, 'b': ns.x} %}"),
    "nested tuples": double("1", "{% set ns.x = (ns.x, ns.x) %}"),
    "nested namespaces": double("1", "{% set ns.x = dict(a=ns.x, b=ns.x) %}"),
    "padding": "{{ 'a'.ljust(10 ** 9) }}",
    "centring": "{{ 'a' | center(10 ** 9) }}",
    "indents": "{{ ('a\n' * 100) | indent(1000000) }}",
    "formats": "{{ '%1000000000d' % 1 }}",
    "format": "{{ '{:1000000000}'.format(1) }}",
    "joins": "{% set s = 'a' * 10 ** 6 %}{{ ([s] * 1000) | join }}",
    "replacement": "{% set s = 'a' * 10 ** 6 %}{{ s.replace('a', s) }}",
    "output": f"{LOOP}{{{{ 'a' * 10 ** 6 }}}}{{% endfor %}}",
    "length": "a" * 2_000_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_template_without_end_is_stopped(monkeypatch, name):
    monkeypatch.setattr("adaptkit.data.chat_templates.SECONDS", 0.3)
    began = time.thread_time()
    with pytest.raises(TemplateLimit, match="it (runs for|makes|writes|is)"):
        render_template(HOSTILE[name], messages=TALK)
    assert time.thread_time() - began < 3


def test_limits_hold_for_each_rendering_alone(monkeypatch):
    """A template may use its time in every conversation."""
    monkeypatch.setattr("adaptkit.data.chat_templates.MOST_STEPS", 100_000)
    text = "{% for a in range(20000) %}{% for b in range(2) %}{% endfor %}{% endfor %}done"
    assert [render_template(text) for _ in range(3)] == ["done"] * 3


def test_a_template_without_end_is_named_before_a_pipeline_takes_it():
    tokenizer = byte_level()
    tokenizer.chat_template = HOSTILE["repetition"]
    with pytest.raises(AdaptkitError, match=r"chat template is not used: it makes a text of more"):
        check_limits(tokenizer)
    tokenizer.chat_template = "{{ raise_exception('no') }}"
    check_limits(tokenizer)  # it may take other conversations


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{% for %}", "Expected an expression"),
        ("{{ ''.__class__.__mro__ }}", "unsafe"),
        ("{{ " + "(" * 3000 + ")" * 3000 + " }}", "recursion"),
        ("{% set messages.x = 1 %}", "namespace"),
        ("{{ messages.append(1) }}", "unsafe|append|not safely callable"),
    ],
)
def test_what_a_template_may_not_do_is_said(template, message):
    tokenizer = byte_level()
    tokenizer.chat_template = template
    with pytest.raises(AdaptkitError, match=f"the chat template refuses .*({message})"):
        render(tokenizer, TALK, False)
