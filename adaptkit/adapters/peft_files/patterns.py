"""The patterns in `adapter_config.json`, tried in a process of their own.

PEFT matches them with `re` against the names of all modules. A pattern can be written so that this
never ends, and nothing can interrupt `re` within a process.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from adaptkit.errors import AdaptkitError
from adaptkit.utils.json_types import shortened

SECONDS = 1  # of a processor; patterns of real adapters take milliseconds
_PATIENCE = 10  # seconds on the clock, if processors are busy or cannot be counted
_SIMPLE = 200_000  # matches of patterns that cannot go back

_CHILD = f"""
import json, re, sys
try:
    import resource
    resource.setrlimit(resource.RLIMIT_CPU, ({SECONDS}, {SECONDS}))
    resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))
except (ImportError, ValueError, OSError):
    pass
given = json.load(sys.stdin)
for pattern in given["patterns"]:
    try:
        compiled = re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as problem:
        sys.exit("no pattern: " + str(problem)[:200])
    for name in given["names"]:
        compiled.match(name)
"""


def check_patterns(settings: dict[str, Any], names: Iterable[str], path: Path) -> None:
    """Refuse patterns that do not compile, or that take too long over the names of the modules.

    Raises:
        AdaptkitError: one of them does.
    """
    patterns, names = _patterns(settings), list(names)
    backtracking = any(set(own) & set("*+?{|(") for own, _ in patterns)
    if not patterns or (not backtracking and len(patterns) * len(names) < _SIMPLE):
        return
    content = json.dumps({"patterns": [whole for _, whole in patterns], "names": names})
    shown = ", ".join(shortened(own) for own, _ in patterns[:3])
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-c", _CHILD],
            input=content,
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
        )
    except (subprocess.TimeoutExpired, OSError) as problem:
        raise AdaptkitError(f"{path}: the patterns {shown} cannot be tried: {problem}") from None
    if done.stderr.startswith("no pattern"):
        raise AdaptkitError(f"{path}: {done.stderr.strip()} (among {shown})")
    if done.returncode:
        raise AdaptkitError(
            f"{path}: the patterns {shown} take longer than {SECONDS} s over the names of this "
            "model's modules; list the modules' names instead."
        )


def _patterns(settings: dict[str, Any]) -> list[tuple[str, str]]:
    """Every pattern, as it is written and as PEFT uses it."""
    found = [
        (settings[name], rf"(?:{settings[name]})\Z")
        for name in ("target_modules", "exclude_modules", "feedforward_modules")
        if isinstance(settings.get(name), str)
    ]
    layers = settings.get("layers_pattern") or []
    for own in [layers] if isinstance(layers, str) else layers:
        found.append((own, rf"(?:^|.*?\.){own}\.(?P<idx>\d+)\."))
    for own in settings.get("modules_to_save") or []:
        found.append((own, rf"(^|.*\.){own}($|\..*)"))
    for name, value in settings.items():
        if name.endswith("_pattern") and isinstance(value, dict):
            found += [(own, rf"(.*\.)?({own})$") for own in value]
    return found
