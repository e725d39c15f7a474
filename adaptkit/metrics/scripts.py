"""Scripts that put no blanks between words."""

from __future__ import annotations

import re


def written_in_characters(texts: list[str]) -> bool:
    """Whether most letters of these texts are of a script without blanks."""
    letters = re.findall(r"\w", "".join(texts[:200]))
    return 2 * len(re.findall(f"[{UNSPACED}]", "".join(letters))) > len(letters)


# Scripts that put no blanks between words: each of their characters is a unit.
UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f"
