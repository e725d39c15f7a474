"""The grammar that turns a string into methods.

    lora                                  one method with its defaults
    lora[r=8,sites=attn.q|attn.v]         settings; lists are joined with |
    lora[layers=last[4]]                  only the upper four layers; also 6-, 2-5, 0|2
                                          (`adaptkit.methods.layer_ranges`)
    lora[r=4]+prefix[length=16]           a union: each method acts in turn
    mam, unipelt                          presets: names for unions

A third-party method registers with the decorator `register`, or with an entry point in the group
`adaptkit.methods`.
"""

from __future__ import annotations

import dataclasses
import re
import types
import typing

from adaptkit.errors import AdaptkitError, unknown
from adaptkit.methods.base import Method, check_numbers
from adaptkit.methods.layer_ranges import check_layers
from adaptkit.methods.registry import known_methods
from adaptkit.utils.json_types import shortened

LONGEST, MOST_TERMS = 10_000, 64  # characters and methods of a union

PRESETS = {
    # He et al. 2021, https://arxiv.org/abs/2110.04366
    "mam": "bottleneck[placement=parallel,reduction=2]+prefix[length=30]",
    # Mao et al. 2021, https://arxiv.org/abs/2110.07577
    "unipelt": (
        "lora[r=8,sites=attn.q|attn.v,gate=true]+prefix[length=10,gate=true]"
        "+bottleneck[placement=pfeiffer,gate=true]"
    ),
}


def parse_method(text: str) -> tuple[Method, ...]:
    """Parse a string in the method grammar: `"lora[r=4]+prefix"` -> `(LoRA(r=4), Prefix())`.

    Raises:
        AdaptkitError: the grammar is invalid, a method or setting is unknown (with the closest
            name), or a value has the wrong type.
    """
    methods: list[Method] = []
    for term in split_terms(text):
        name, settings = read_term(term)
        if name in PRESETS:
            if settings:
                raise AdaptkitError(
                    f"preset {name!r} takes no settings; write it out instead: {PRESETS[name]}"
                )
            methods += parse_method(PRESETS[name])
            continue
        known = known_methods()
        if name not in known:
            raise unknown(
                "method",
                name,
                [*known, *PRESETS],
                "PEFT's own methods are written peft:NAME, as in peft:VERA.",
            )
        methods.append(_build(known[name], settings))
    return tuple(methods)


def describe_method(methods: tuple[Method, ...], full: bool = False) -> str:
    """Write `methods` in the method grammar; `parse_method(describe_method(m)) == m`."""
    return "+".join(method.describe(full) for method in methods)


def split_terms(text: str) -> list[str]:
    """Split at each + outside brackets.

    Raises:
        AdaptkitError: a method is missing, or there are too many of them.
    """
    if len(text) > LONGEST:
        raise AdaptkitError(
            f"method {shortened(text)}: a method has at most {LONGEST:,} characters; this one has "
            f"{len(text):,}."
        )
    terms, depth = [""], 0
    for part in re.split(r"([+\[\]])", text):
        depth += (part == "[") - (part == "]")
        if part == "+" and depth <= 0:
            terms.append("")
        else:
            terms[-1] += part
    terms = [term.strip() for term in terms]
    if not all(terms):
        raise AdaptkitError(
            f"method {shortened(text)}: a method is missing; write name[key=value,...]+name[...]"
        )
    if len(terms) > MOST_TERMS:
        raise AdaptkitError(
            f"method {shortened(text)}: a union has at most {MOST_TERMS} methods; this one has "
            f"{len(terms)}."
        )
    return terms


def read_term(term: str) -> tuple[str, dict[str, str]]:
    """`"lora[r=8,alpha=16]"` -> `("lora", {"r": "8", "alpha": "16"})`."""
    found = re.fullmatch(r"([\w:.-]+)(?:\[(.*)\])?", term)
    if not found:
        raise AdaptkitError(
            f"method {shortened(term)}: expected name[key=value,...], as in "
            "lora[r=8,sites=attn.q|attn.v]"
        )
    name, inside = found.groups()
    settings: dict[str, str] = {}
    for pair in filter(None, (part.strip() for part in (inside or "").split(","))):
        key, equals, value = (part.strip() for part in pair.partition("="))
        if not equals or not value:
            raise AdaptkitError(
                f"method {shortened(term)}: {shortened(pair)} is not key=value; lists are joined "
                "with |, as in attn.q|attn.v"
            )
        if key in settings:
            raise AdaptkitError(f"method {shortened(term)}: {shortened(key)} is given twice")
        settings[key] = value
    return name, settings


def _build(method: type[Method], settings: dict[str, str]) -> Method:
    hints = typing.get_type_hints(method)
    fields = {field.name: hints[field.name] for field in dataclasses.fields(method)}
    values = {}
    for key, text in settings.items():
        if key not in fields:
            raise unknown(f"setting of {method.name}", key, fields)
        try:
            values[key] = _read(text, fields[key])
        except ValueError:
            wanted = getattr(fields[key], "__name__", str(fields[key]))
            raise AdaptkitError(
                f"{method.name}: {key} is of type {wanted}; it got {shortened(text)}"
            ) from None
    if values.get("layers") is not None:
        check_layers(values["layers"])
    built = method(**values)
    check_numbers(built)
    return built


def _read(text: str, wanted) -> typing.Any:
    """Parse one value by its annotation: bool, int, float, str, a tuple of these, or None."""
    if isinstance(wanted, types.UnionType):
        inner = [option for option in typing.get_args(wanted) if option is not type(None)]
        return None if text.lower() == "none" else _read(text, inner[0])
    if typing.get_origin(wanted) is tuple:
        item = typing.get_args(wanted)[0]
        return tuple(_read(part, item) for part in text.split("|"))
    if wanted is bool:
        if text.lower() not in ("true", "false"):
            raise ValueError(text)
        return text.lower() == "true"
    return wanted(text)
