"""Chat templates, rendered as transformers renders them, with limits on their work.

A template comes with the base, so it may come from anyone. Jinja's sandbox keeps it from the rest
of the program; the limits here keep it from running for ever and from filling the memory. Every
pass of a loop, macro, call and filter is counted and timed, and what they make may not grow beyond
`MOST_CHARACTERS`. The size of a product, a repetition or a join is estimated before it is made.
"""

from __future__ import annotations

import functools
import json
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

SECONDS = 3.0  # of one rendering, on this thread

MOST_STEPS = 1_000_000

MOST_CHARACTERS = 10_000_000  # of a text that a template makes

MOST_ITEMS = 1_000_000  # of a list, with those of the lists in it

MOST_DIGITS = 100_000  # bits of a number

_WIDTH = re.compile(r"\d{7,}|%\*")  # in formats


class TemplateLimit(jinja2.TemplateError):
    """A template that does more than a conversation can need."""


def render_template(template: str, **variables: Any) -> str:
    """Render a template.

    Raises:
        TemplateLimit: it runs too long or makes too much.
        jinja2.TemplateError: it cannot be read, or refuses.
    """
    compiled = _compiled(template)
    _WORK.steps, _WORK.until = 0, time.thread_time() + SECONDS
    parts, length = [], 0
    for part in compiled.generate(**variables):
        length += len(part)
        _check_size(length)
        parts.append(part)
    return "".join(parts)


class _Work(threading.local):
    """What the rendering of this thread has done, and when its time is over."""

    steps = 0
    until = 0.0


_WORK = _Work()


def _step() -> None:
    _WORK.steps += 1
    late = _WORK.steps % 32 == 0 and time.thread_time() > _WORK.until  # the clock takes time, too
    if late or _WORK.steps > MOST_STEPS:
        raise TemplateLimit(
            f"it runs for more than {SECONDS:g} s or {MOST_STEPS:,} steps: its loops do not end"
        )


def _check_size(size: float) -> None:
    if size > MOST_CHARACTERS:
        raise TemplateLimit(f"it makes a text of more than {MOST_CHARACTERS:,} characters")


def _checked(value: Any) -> Any:
    """A value that is not too large."""
    if isinstance(value, (str, bytes)):
        _check_size(len(value))
    elif isinstance(value, int) and value.bit_length() > MOST_DIGITS:
        raise TemplateLimit(f"it makes a number of more than {MOST_DIGITS:,} bits")
    elif isinstance(value, (list, tuple, dict, set)):
        _check_items(value)
    return value


def _check_items(value: Any) -> None:
    """Refuse lists of lists that are together too large, however often they hold one list."""
    waiting, count = [value], 0
    while waiting:
        items = waiting.pop()
        count += len(items)
        if count > MOST_ITEMS:
            raise TemplateLimit(f"it makes lists of more than {MOST_ITEMS:,} items")
        values = items.values() if isinstance(items, dict) else items
        waiting += [one for one in values if isinstance(one, (list, tuple, dict, set))]


def _check_inputs(text: Any, inputs: Sequence[Any]) -> None:
    """Refuse a call or a filter on a text whose result could be too large.

    No text is more than a join of the inputs' items, or each of its characters replaced by all
    of an input, or filled up to a number.
    """
    numbers = [abs(one) for one in inputs if isinstance(one, int)]
    _check_size(max(numbers, default=0))
    if isinstance(text, str) and _WIDTH.search(text):
        raise TemplateLimit("it writes a format with a width of millions")
    glue = len(text) if isinstance(text, str) else 1
    for items in (text, *inputs):
        if isinstance(items, (list, tuple)):
            _check_size(sum(len(one) + glue if isinstance(one, str) else glue for one in items))
    if isinstance(text, str):
        texts = sum(len(one) for one in inputs if isinstance(one, str))
        _check_size(
            max((text.count(one) for one in inputs if isinstance(one, str)), default=0) * texts
        )
        _check_size((text.count("{") + text.count("%") + text.count("\t")) * (texts + sum(numbers)))
        _check_size(text.count("\n") * sum(numbers))


class _Environment(ImmutableSandboxedEnvironment):
    """Jinja's sandbox, which counts and checks."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        _step()
        if operator == "*":
            for one, two in ((left, right), (right, left)):
                if isinstance(one, (str, list, tuple)) and isinstance(two, int):
                    _check_size(len(one) * two)
        if operator == "**" and isinstance(left, int) and isinstance(right, int):
            _check_size(left.bit_length() * right)
        if operator == "%" and isinstance(left, str):
            _check_inputs(left, right if isinstance(right, tuple) else (right,))
        return _checked(super().call_binop(context, operator, left, right))

    def call(__self, __context: Any, __called: Any, *args: Any, **more: Any) -> Any:  # noqa: N805
        _step()
        method = getattr(__called, "__wrapped__", __called)  # the sandbox wraps str.format
        _check_inputs(getattr(method, "__self__", None), (*args, *more.values()))
        return _checked(super().call(__context, __called, *args, **more))


def _counted(function: Callable[..., Any]) -> Callable[..., Any]:
    """A filter that is counted and checked."""
    context = int(hasattr(function, "jinja_pass_arg"))  # where the filtered value is

    @functools.wraps(function)
    def counted(*args: Any, **more: Any) -> Any:
        _step()
        value, *others = args[context:]
        _check_inputs(value, (*others, *more.values()))
        return _checked(function(*args, **more))

    return counted


class _Counting(NodeTransformer):
    """Counts the passes of loops and macros, and joins texts by a filter that is checked."""

    def visit_For(self, node: Any) -> Any:  # noqa: N802
        return self._begun(node)

    def visit_Macro(self, node: Any) -> Any:  # noqa: N802
        return self._begun(node)

    def visit_CallBlock(self, node: Any) -> Any:  # noqa: N802
        return self._begun(node)

    def visit_Concat(self, node: Any) -> Any:  # noqa: N802
        node = self.generic_visit(node)
        first, *rest = node.nodes
        return nodes.Filter(first, "adaptkit concat", rest, [], None, None, lineno=node.lineno)

    def visit_AssignBlock(self, node: Any) -> Any:  # noqa: N802
        node = self.generic_visit(node)
        inner, node.filter = node.filter, _check_node(None)
        if inner is not None:
            node.filter.node = inner
        return node

    def visit_List(self, node: Any) -> Any:  # noqa: N802
        return _check_node(self.generic_visit(node))

    def visit_Dict(self, node: Any) -> Any:  # noqa: N802
        return _check_node(self.generic_visit(node))

    def visit_Tuple(self, node: Any) -> Any:  # noqa: N802
        node = self.generic_visit(node)
        return _check_node(node) if node.ctx == "load" else node

    def _begun(self, node: Any) -> nodes.Node:
        node = self.generic_visit(node)
        step = nodes.Filter(nodes.Const(""), "adaptkit step", [], [], None, None)
        node.body.insert(0, nodes.ExprStmt(step).set_lineno(node.lineno))
        return node


def _check_node(value: nodes.Node | None) -> Any:
    return nodes.Filter(value, "adaptkit check", [], [], None, None)


class _Namespace(jinja2.utils.Namespace):
    """Jinja's namespace; written out it is no text, as its values may hold each other."""

    def __repr__(self) -> str:
        return "<namespace>"


@jinja2.pass_context
def _count(context: Any, value: str) -> str:
    _step()
    return value


def _concat(*parts: Any) -> str:
    texts = [str(_checked(part)) for part in parts]
    _check_size(sum(map(len, texts)))
    return "".join(texts)


class _Generation(Extension):
    """`{% generation %}` marks what the assistant says; here it only groups."""

    tags = {"generation"}

    def parse(self, parser: Any) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body).set_lineno(line)


def _refuse(message: str) -> None:
    raise jinja2.TemplateError(message)


def _to_json(value: Any, ensure_ascii: bool = False, **more: Any) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, **more)


def _now(format: str) -> str:
    return datetime.now().strftime(format)


@functools.lru_cache(maxsize=16)
def _compiled(template: str) -> jinja2.Template:
    if len(template) > MOST_CHARACTERS // 10:
        raise TemplateLimit(f"it is {len(template):,} characters long")
    extensions: list[Any] = [_Generation, loopcontrols]
    environment = _Environment(
        trim_blocks=True, lstrip_blocks=True, extensions=extensions, finalize=_checked
    )
    environment.filters["tojson"] = _to_json
    environment.filters = {name: _counted(one) for name, one in environment.filters.items()}
    environment.filters |= {"adaptkit concat": _concat, "adaptkit step": _count}
    environment.filters["adaptkit check"] = _checked
    del environment.globals["lipsum"]  # a generator of any amount of text
    environment.globals |= {"raise_exception": _refuse, "strftime_now": _now}
    environment.globals["namespace"] = _Namespace
    tree = _Counting().visit(environment.parse(template))
    code = environment.compile(tree)
    return jinja2.Template.from_code(environment, code, environment.make_globals(None))


def plain(value: Any) -> Any:
    """A value out of JSON's types, which have no methods that change anything else."""
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    return value if value is None or isinstance(value, (str, int, float, bool)) else str(value)
