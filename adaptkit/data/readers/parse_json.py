"""Parse JSON from anywhere: what breaks Python's parser is an error with its place."""

from __future__ import annotations

import json
from typing import Any

from adaptkit.errors import AdaptkitError

DEEPEST = 50  # lists in lists


def parse_json(text: str, where: str) -> Any:
    """The content of a JSON text; `where` is its file, or file and line.

    Raises:
        AdaptkitError: it is not JSON, holds a number of thousands of digits, or is nested deeply.
    """
    try:
        found = json.loads(text)
    except json.JSONDecodeError as problem:
        line = f":{problem.lineno}" if "\n" in text.strip() else ""
        raise AdaptkitError(
            f"{where}{line}: not valid JSON: {problem.msg} at column {problem.colno}"
        ) from None
    except RecursionError:
        raise _too_deep(where) from None
    except ValueError:
        raise AdaptkitError(
            f"{where}: a number has thousands of digits, which no row needs; write it as a text, "
            "in quotes."
        ) from None
    if text.count("[") + text.count("{") > DEEPEST and _is_deep(found):
        raise _too_deep(where)
    return found


def _too_deep(where: str) -> AdaptkitError:
    return AdaptkitError(
        f"{where}: lists or objects are nested more than {DEEPEST} deep, as no row is."
    )


def _is_deep(value: Any) -> bool:
    """True if lists or objects are nested too deeply; looks at one level after the other."""
    level = [value] if isinstance(value, (list, dict)) else []
    for _ in range(DEEPEST):
        level = [
            inner
            for one in level
            for inner in (one.values() if isinstance(one, dict) else one)
            if isinstance(inner, (list, dict))
        ]
    return bool(level)
