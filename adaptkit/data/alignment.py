"""Long texts in windows of tokens, and the characters that each token holds.

Tokenizers drop characters: accents, vowel signs, points, zero-width blanks. Such a character is in
no token. It is told apart from one outside a window by the windows of the whole text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import regex

from adaptkit.data.texts import MARKS

Offsets = Sequence[Sequence[int]]  # (start, end) of each token; (-1, -1): not of this text

_MARK = regex.compile(f"[{MARKS}]")


def encode_windows(
    tokenizer: Any, texts: Sequence[tuple[str, ...]], max_length: int, stride: int
) -> dict[str, list]:
    """Encode texts, or pairs of which the second is cut, in windows that share `stride` tokens.

    Returns:
        Columns: the model's inputs, `_row`, and `_offsets`: the characters of each token in the
        last text, (-1, -1) for tokens of another and special ones.
    """
    sides = list(zip(*texts, strict=True))
    encoded = tokenizer(
        *map(list, sides),
        truncation="only_second" if len(sides) == 2 else True,
        max_length=max_length,
        stride=stride,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
    )
    owners, offsets = encoded.pop("overflow_to_sample_mapping"), encoded.pop("offset_mapping")
    inside = [
        [
            list(place) if part == len(sides) - 1 else [-1, -1]
            for place, part in zip(places, encoded.sequence_ids(window), strict=True)
        ]
        for window, places in enumerate(offsets)
    ]
    return {**encoded, "_row": owners, "_offsets": inside}


def held_characters(encoded: Any, texts: Sequence[str]) -> list[bytearray]:
    """For each row 1 where some token of its windows holds the character, else 0."""
    held = [bytearray(len(text)) for text in texts]
    for row, offsets in zip(encoded["_row"], encoded["_offsets"], strict=True):
        for start, end in offsets:
            if start >= 0:
                held[row][start:end] = b"\1" * (end - start)
    return held


def held_part(held: bytearray, start: int, end: int) -> tuple[int, int]:
    """A span from the first to the last of its characters that tokens hold; empty without one."""
    first, last = held.find(1, start, end), held.rfind(1, start, end)
    return (first, last + 1) if first >= 0 else (start, start)


def with_marks(text: str, held: bytearray, end: int) -> int:
    """The end of a span behind the marks of its last character that no token holds."""
    while end < len(text) and not held[end] and _MARK.match(text[end]):
        end += 1
    return end
