"""Augmented copies of training texts: words dropped, swapped or replaced by synonyms.

As in Wei and Zou 2019, "EDA". Copies are made once before training, from the seed, so a resumed
run sees the same ones.
"""

from __future__ import annotations

import functools
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adaptkit.data.readers.file import File
from adaptkit.data.tables import Table
from adaptkit.errors import AdaptkitError
from adaptkit.metrics.scripts import UNSPACED

_WORD = rf"[{UNSPACED}]|[^\s{UNSPACED}]+"

_CHARACTER = re.compile(f"[{UNSPACED}]")

_INSIDE = re.compile(r"^(\W*)(.*?)(\W*)$", re.DOTALL)  # a word without surrounding punctuation


@dataclass(frozen=True)
class Augmentation:
    """`copies` per row; `dropout`, `swap` and `replace` (synonyms) are probabilities per word."""

    copies: int = 0
    dropout: float = 0.1
    swap: float = 0.05
    replace: float = 0.2
    synonyms: dict[str, list[str]] = field(default_factory=dict)

    def text(self, text: str, generator: random.Random) -> str:
        """One augmented copy of a text; never empty."""
        blanks, words = (
            map(list, zip(*self._words.findall(text), strict=True)) if text.strip() else ([], [])
        )
        for i in range(len(words) - 1):
            if generator.random() < self.swap:
                words[i], words[i + 1] = words[i + 1], words[i]
        words = [self._replaced(word, generator) for word in words]
        kept = [
            blank + word
            for blank, word in zip(blanks, words, strict=True)
            if generator.random() >= self.dropout
        ]
        return "".join(kept).strip() or text

    def _replaced(self, word: str, generator: random.Random) -> str:
        before, inside, after = _INSIDE.fullmatch(word).groups()
        known = self.synonyms.get(inside.lower())
        if not known or generator.random() >= self.replace:
            return word
        chosen = generator.choice(known)
        return before + (chosen.capitalize() if inside[:1].isupper() else chosen) + after

    @functools.cached_property
    def _words(self) -> re.Pattern[str]:
        """Split into words, each with the blanks before it.

        In scripts without blanks a word is an entry of the synonyms, else a character.
        """
        known = sorted(
            (word for word in self.synonyms if _CHARACTER.match(word)), key=len, reverse=True
        )
        return re.compile(rf"(\s*)({'|'.join([*map(re.escape, known), _WORD])})")


def augment(table: Table, parts: Sequence[str], how: Augmentation, seed: int) -> Table:
    """The rows, followed by their augmented copies.

    Args:
        parts: the columns with the texts to augment.
    """
    generator = random.Random(seed)
    copies: list[dict[str, Any]] = []
    for _ in range(how.copies):
        copies += [
            row | {part: how.text(row[part], generator) for part in parts} for row in table.rows
        ]
    return Table([*table.rows, *copies], table.source)


def read_synonyms(path: str | None) -> dict[str, list[str]]:
    """Read a file of synonym groups, one per line: words separated by commas or tabs.

    Raises:
        AdaptkitError: the file does not exist, or a line has a single word.
    """
    if path is None:
        return {}
    if not Path(path).is_file():
        raise AdaptkitError(f"there is no synonym file {path}.")
    found: dict[str, list[str]] = {}
    for number, line in File(Path(path)).lines():
        words = [word.strip() for word in re.split(r"[,\t]", line) if word.strip()]
        if len(words) == 1:
            raise AdaptkitError(
                f"{path}:{number}: expected two words or more, parted by commas; it is {line!r}"
            )
        for word in words:
            found.setdefault(word.lower(), []).extend(other for other in words if other != word)
    return found
