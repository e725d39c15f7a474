"""Labels, however they are spelled: numbers, truth values, invisible characters, lists in a text.

Rows come from many tools, and one label comes in several spellings: pandas writes 1 as 1.0 in a
column with a missing value, JSON's `true` is `True` in a table, and two keyboards type one accent
in two ways. `spell` makes a text of a value, `label_key` is equal for spellings of one label, and
`settle` gives each label one name.
"""

from __future__ import annotations

import ast
import json
import math
import re
import unicodedata
import warnings
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import date
from decimal import Decimal
from numbers import Integral, Real
from typing import Any

from adaptkit.errors import quoted

_WHOLE = re.compile(r"([+-]?)(\d{1,100})(?:\.0{0,100})?")  # longer ones are taken as texts

# Soft hyphen, zero-width blanks and joiners, marks of direction, variation selectors, BOM.
_INVISIBLE = re.compile(
    "[\u00ad\u180e\u200b\u200c\u200e\u200f\u202a-\u202e\u2060-\u2069\ufe00-\ufe0f\ufeff]"
)

_JOINER = re.compile("\u200d(?=(.?))", re.DOTALL)  # visible only where it joins two pictures

_ITEM = r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[+-]?\d+(?:\.\d*)?|[Tt]rue|[Ff]alse|None|null"""
_BETWEEN = r"(?:\s*,\s*|\s+)"
_LIST = re.compile(
    rf"[\[({{]\s*(?:(?:{_ITEM})(?:{_BETWEEN}(?:{_ITEM}))*\s*,?)?\s*[\])}}]", re.DOTALL
)
_LONGEST_LIST = 100_000  # characters


class NotALabelError(ValueError):
    """A value that is no label; the message says what it is."""


def is_missing(value: Any) -> bool:
    """True for None, NaN, pandas' NA and NaT, and texts in which nothing is visible."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    if isinstance(value, str):
        return not _visible(value)
    return isinstance(value, Real | Decimal) and value != value


def spell(value: Any) -> str:
    """The text of a label; whole numbers are written without a fraction.

    >>> spell(2), spell(2.0), spell(0.5), spell(" good "), spell(True)
    ('2', '2', '0.5', 'good', 'True')

    Raises:
        NotALabelError: the value is missing, infinite, or no text, number or truth value.
    """
    value = plain_value(value)
    if is_missing(value):
        raise NotALabelError("is empty" if isinstance(value, str) else f"is missing ({value})")
    if isinstance(value, str):
        if any("\ud800" <= character <= "\udfff" for character in value):
            raise NotALabelError(f"holds half of a surrogate pair: {quoted(value)}")
        return value.strip()
    if isinstance(value, bool | date):
        return str(value)
    if isinstance(value, Real | Decimal):
        return _number(value)
    raise NotALabelError(f"is {quoted(value)}, which is not one label")


def plain_value(value: Any) -> Any:
    """A value of numpy as Python's own; arrays, tuples and sets of labels as a list."""
    if isinstance(value, set | frozenset):
        return sorted(value, key=str)
    if isinstance(value, tuple):
        return list(value)
    if type(value).__module__.partition(".")[0] != "numpy":
        return value
    if value.ndim:
        return value.tolist()
    own = value.item()
    return float(str(value)) if isinstance(own, float) else own  # 0.1 of float32, not 0.1000000015


def _number(value: Any) -> str:
    if not isinstance(value, Integral):
        if not math.isfinite(value):
            raise NotALabelError(f"is {value}, which is no finite number")
        if value != int(value):
            return str(value.normalize() if isinstance(value, Decimal) else value)
    try:
        return str(int(value))
    except ValueError:  # Python writes no number of several thousand digits
        raise NotALabelError("is a number of thousands of digits") from None


def label_key(label: str) -> str:
    """What is equal for all spellings of a label, in its plainest spelling.

    Whole numbers lose sign, leading zeros and fraction as far as these say nothing; `true` and
    `false` their capitals. Texts are composed (NFC) and lose characters that nobody sees.

    >>> label_key("1.0"), label_key("007"), label_key("-0"), label_key("TRUE"), label_key("1.50")
    ('1', '7', '0', 'true', '1.50')
    """
    plain = _visible(label)
    if number := _WHOLE.fullmatch(plain):
        digits = "".join(str(unicodedata.decimal(one)) for one in number[2]).lstrip("0") or "0"
        return f"-{digits}" if number[1] == "-" and digits != "0" else digits
    return plain.lower() if plain.lower() in ("true", "false") else plain


def is_whole(label: str) -> bool:
    """True if a label spells a whole number."""
    return _WHOLE.fullmatch(_visible(label)) is not None


def _visible(text: str) -> str:
    """A text in composed form, without blanks around it and without invisible characters."""
    if text.isascii():
        return text.strip()
    seen = _INVISIBLE.sub("", unicodedata.normalize("NFC", text))
    seen = _JOINER.sub(
        lambda m: "\u200d" if m[1] and unicodedata.category(m[1]) == "So" else "", seen
    )
    return unicodedata.normalize("NFC", seen).strip()


def settle(labels: Iterable[str], known: Sequence[str] = ()) -> dict[str, str]:
    """Spelling -> the name of its label, the same for all spellings of one.

    A known label gives its name. Else a label keeps its only spelling, and of several gets the
    plainest. Where all labels are whole numbers, no name has a fraction.

    >>> settle(["1", "1.0", "02"])
    {'1': '1', '1.0': '1', '02': '02'}
    """
    spellings: dict[str, list[str]] = defaultdict(list)
    for label in dict.fromkeys(labels):
        spellings[label_key(label)].append(label)
    names = {label_key(name): name for name in reversed(known)}
    whole = all(map(is_whole, spellings))
    found: dict[str, str] = {}
    for key, several in spellings.items():
        name = names.get(key) or (several[0] if len(several) == 1 else key)
        name = name.partition(".")[0] if whole and key not in names else name
        found |= {label: label if label in known else name for label in several}
    return found


def settled_notes(found: dict[str, str]) -> list[str]:
    """Which labels were written in several ways. `found`: as `settle` returns it."""
    spellings: dict[str, list[str]] = defaultdict(list)
    for spelling, name in found.items():
        spellings[name].append(spelling)
    return [
        f"the label {quoted(name)} is written {_all_of(several)}: these are read as one label"
        for name, several in spellings.items()
        if len(several) > 1
    ]


def _all_of(spellings: Sequence[str]) -> str:
    """Spellings as a list for a message; in ASCII where they would look the same."""
    alike = len({unicodedata.normalize("NFC", one) for one in spellings}) < len(spellings)
    shown = [ascii(one) if alike else quoted(one) for one in spellings[:4]]
    return " and ".join(shown) + (" and in other ways" if len(spellings) > 4 else "")


def parse_list(text: str) -> list[Any] | None:
    """The items of a list that Python, numpy or JSON wrote into a text, or None for other texts.

    >>> parse_list("['a', 'b']"), parse_list("[1 0 0]"), parse_list("[sic]")
    (['a', 'b'], [1, 0, 0], None)
    """
    text = text.strip()
    if text[:1] not in ("[", "(", "{") or len(text) > _LONGEST_LIST or not _LIST.fullmatch(text):
        return None
    return [_item(match[0]) for match in re.finditer(_ITEM, text, re.DOTALL)]


def _item(text: str) -> Any:
    if text[0] in "'\"" and "\\" not in text:
        return text[1:-1]
    try:
        return json.loads(text)
    except ValueError:
        return _python_literal(text)


def _python_literal(text: str) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes that Python does not know
            return ast.literal_eval(text)
    except (ValueError, SyntaxError):  # a number with leading zeros
        return text
