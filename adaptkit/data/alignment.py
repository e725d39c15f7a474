"""Long texts in windows of tokens, and the characters that each token holds.

Tokenizers drop characters: accents, vowel signs, points, zero-width blanks. Such a character is in
no token. It is told apart from one outside a window by the windows of the whole text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import regex

from adaptkit.data.collate import by_column
from adaptkit.data.slow_tokens import SlowTokens
from adaptkit.data.texts import MARKS
from adaptkit.errors import AdaptkitError

Offsets = Sequence[Sequence[int]]  # (start, end) of each token; (-1, -1): not of this text

Bad = Callable[[int, str], AdaptkitError]  # the error for a text, from its index and the problem

_OTHER, _TEXT = -1, -2  # in place of ids, to see where a tokenizer puts special tokens

_MARK = regex.compile(f"[{MARKS}]")


def tokens_of(tokenizer: Any, text: str) -> tuple[list[int], list[tuple[int, int]]]:
    """The ids of a text without special tokens, and the (start, end) of each in it.

    Raises:
        AdaptkitError: the tokenizer does not tell, and it cannot be found out.
    """
    if tokenizer.is_fast:
        encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        return encoded["input_ids"], encoded["offset_mapping"]
    return _found(tokenizer, text, SlowTokens(tokenizer)(text))


def _found(tokenizer: Any, text: str, found: tuple[list[int], list] | None):
    if found is None:
        raise AdaptkitError(
            f"{type(tokenizer).__name__} does not tell which characters a token holds, and its "
            f"tokens are not those of the text: {text[:60]!r}. Take a base with a fast tokenizer "
            "(one with a tokenizer.json)."
        )
    return found


def encode_windows(
    tokenizer: Any,
    texts: Sequence[tuple[str, ...]],
    max_length: int,
    stride: int,
    bad: Bad,
) -> dict[str, list]:
    """Encode texts, or pairs of which the second is cut, in windows that share `stride` tokens.

    Returns:
        Columns: the model's inputs, `_row`, and `_offsets`: the characters of each token in the
        last text, (-1, -1) for tokens of another and special ones.
    """
    if not tokenizer.is_fast:
        return _slow_windows(tokenizer, texts, max_length, stride, bad)
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


def _slow_windows(
    tokenizer: Any,
    texts: Sequence[tuple[str, ...]],
    max_length: int,
    stride: int,
    bad: Bad,
) -> dict[str, list]:
    """The same with a tokenizer written in Python."""
    read, rows = SlowTokens(tokenizer), []
    for row, (*before, text) in enumerate(texts):
        try:
            ids, offsets = _found(tokenizer, text, read(text))
        except AdaptkitError as problem:
            raise bad(row, str(problem)) from None
        front = [tokenizer(side, add_special_tokens=False)["input_ids"] for side in before]
        special = tokenizer.num_special_tokens_to_add(pair=bool(before))
        room = max(stride + 1, max_length - special - sum(map(len, front)))
        for start in range(0, max(1, len(ids) - stride), room - stride):
            part, inside = ids[start : start + room], iter(offsets[start : start + room])
            sides = [[_OTHER] * len(side) for side in front] + [[_TEXT] * len(part)]
            layout = tokenizer.build_inputs_with_special_tokens(*sides)
            places = [list(next(inside)) if mark == _TEXT else [-1, -1] for mark in layout]
            encoded = dict(tokenizer.prepare_for_model(*front, part))
            rows.append(encoded | {"_row": row, "_offsets": places})
    return by_column(rows)


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
