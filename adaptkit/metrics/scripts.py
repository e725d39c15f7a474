"""Scripts without blanks between words."""

from __future__ import annotations

import re


def written_in_characters(texts: list[str]) -> bool:
    """True if most letters of these texts belong to a script without blanks."""
    letters = re.findall(r"\w", "".join(texts[:200]))
    return 2 * len(re.findall(f"[{UNSPACED}]", "".join(letters))) > len(letters)


# Scripts without blanks between words: each of their characters is a unit.
UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f"
