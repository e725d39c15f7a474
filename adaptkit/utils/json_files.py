"""Human-readable JSON files, and errors that name the file."""

from __future__ import annotations

import json
from pathlib import Path

from adaptkit.errors import AdaptkitError
from adaptkit.utils.whole_files import check_json_size, read_whole


def write_json(path: Path, content: dict) -> None:
    """Write indented JSON."""
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", "utf-8")


def read_json(path: Path) -> dict:
    """The JSON object in a file, or an AdaptkitError."""
    with open(path, "rb") as file:
        return parse_json(read_whole(file.fileno(), path), path)


def parse_json(content: bytes, path: Path) -> dict:
    """The JSON object in the bytes of a file, or an AdaptkitError that names `path`."""
    check_json_size(len(content), path)
    try:
        found = json.loads(content.decode("utf-8"))
        if b"\\u" in content:  # half of a pair of \\ud800 and the like cannot be printed or written
            json.dumps(found, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError) as problem:
        raise AdaptkitError(f"{path} is not valid JSON: {problem}") from problem
    if not isinstance(found, dict):
        raise AdaptkitError(f"{path} should hold a JSON object.")
    return found
