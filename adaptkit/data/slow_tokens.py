"""The characters of each token, for tokenizers written in Python, which do not tell them.

A text is aligned word by word if its tokens are those of its words. The tokens are laid over the
text: their characters in order must be all of the text's, up to case, accents, compatibility forms
and blanks; an unknown token holds at least one. Tokens that are written otherwise are found by
tokenizing every beginning of the word. Tokens between two borders that are certain share the
characters between these.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import Any

_WORDS = re.compile(r"\s*\S+(?:\s+$)?")

_JOINTS = re.compile(r"^##(?=.)|\u2581|\u0120|</w>$|@@$")  # how pieces mark that they continue

LONGEST_WORD = 400  # characters of a word whose beginnings are tokenized

Places = list[tuple[int, int]]  # the first character of each token, and the one behind its last

Borders = list[int | None]  # one more than there are tokens; None: not certain


class SlowTokens:
    """The tokens of texts with the characters that they hold. tokenizer: one without offsets."""

    def __init__(self, tokenizer: Any):
        self._tokenizer = tokenizer
        self._known: dict[str, tuple[list[str], Places | None]] = {}

    def __call__(self, text: str) -> tuple[list[int], Places] | None:
        """The ids of a text and the (start, end) of each, or None if they cannot be aligned."""
        tokens = self._tokenizer.tokenize(text)
        ids = self._tokenizer.convert_tokens_to_ids(tokens)
        if ids != self._tokenizer(text, add_special_tokens=False)["input_ids"]:
            return None
        places = self._by_word(text, tokens) or self._align(text, tokens)
        return None if places is None else (ids, places)

    def _by_word(self, text: str, tokens: list[str]) -> Places | None:
        places: Places = []
        for match in _WORDS.finditer(text):
            word = match[0]
            if word not in self._known:
                pieces = self._tokenizer.tokenize(word)
                places_of_word = self._align(word, pieces) or self._by_beginnings(word, pieces)
                self._known[word] = pieces, places_of_word
            pieces, inside = self._known[word]
            if inside is None or pieces != tokens[len(places) : len(places) + len(pieces)]:
                return None
            places += [(start + match.start(), end + match.start()) for start, end in inside]
        return places if len(places) == len(tokens) else None

    def _align(self, text: str, tokens: list[str]) -> Places | None:
        """The places by the spelling that leaves the fewest borders open."""
        unknown, best, most = self._tokenizer.unk_token, None, -1
        for spell in _SPELLINGS:
            spelt = [None if token == unknown else spell(token, True) for token in tokens]
            letters = [
                (one, place) for place, each in enumerate(text) for one in spell(each, False)
            ]
            borders = _borders(spelt, "".join(one for one, _ in letters))
            if borders and (certain := len(borders) - borders.count(None)) > most:
                sources = [*(place for _, place in letters), len(text)]
                best, most = _places(borders, sources), certain
        return best

    def _by_beginnings(self, word: str, tokens: list[str]) -> Places | None:
        """Borders where the beginning of a word has the first tokens of it."""
        if len(word) > LONGEST_WORD:
            return None
        borders: Borders = [0, *[None] * len(tokens)]
        for end in range(1, len(word) + 1):
            first = self._tokenizer.tokenize(word[:end])
            if first and first == tokens[: len(first)]:
                borders[len(first)] = end
        return None if borders[-1] is None else _places(borders, range(len(word) + 1))


def _plain(text: str, token: bool) -> str:
    return _JOINTS.sub("", text) if token else text


def _without_blanks(text: str, token: bool) -> str:
    return "".join(_plain(text, token).split())


def _folded(text: str, token: bool) -> str:
    """Lower case and compatibility forms, without accents, blanks and invisible characters."""
    plain = unicodedata.normalize("NFKD", _plain(text, token)).casefold()
    kept = unicodedata.normalize("NFKD", plain)
    return "".join(one for one in kept if unicodedata.category(one) not in _UNSEEN)


def _bytes(text: str, token: bool) -> str:
    """The bytes of a text, each as the character of its number."""
    return text if token else text.encode(errors="replace").decode("latin-1")


_UNSEEN = {"Mn", "Me", "Zs", "Zl", "Zp", "Cc", "Cf", "Cn"}

_SPELLINGS: tuple[Callable[[str, bool], str], ...] = (_plain, _without_blanks, _folded, _bytes)


def _borders(spelt: Sequence[str | None], text: str) -> Borders | None:
    """The borders of tokens in a text; None if the tokens are not those of the text.

    spelt: the characters of each token, None for one character or more. A border is certain if the
    first and the last place where it can be are one.
    """
    first = _first_borders(spelt, text)
    mirrored = [one and one[::-1] for one in reversed(spelt)]
    last = _first_borders(mirrored, text[::-1])
    if first is None or last is None:
        return None
    mirror = [len(text) - border for border in reversed(last)]
    return [one if one == two else None for one, two in zip(first, mirror, strict=True)]


def _first_borders(spelt: Sequence[str | None], text: str) -> list[int] | None:
    """Each border as early as possible."""
    borders, place, open_tokens = [0], 0, 0
    groups = [list(group) for _, group in itertools.groupby(spelt, lambda one: one is None)]
    for number, group in enumerate(groups):
        if group[0] is None:
            open_tokens = len(group)
            continue
        known = "".join(one or "" for one in group)
        last = number == len(groups) - 1
        found = len(text) - len(known) if open_tokens and last else place
        if open_tokens and not last:
            found = text.find(known, place + open_tokens)
        if found < place + open_tokens or not text.startswith(known, found):
            return None
        borders += [*range(place + 1, place + open_tokens), *[found] * (open_tokens > 0)]
        borders += itertools.accumulate(
            (len(one or "") for one in group[1:]), initial=found + len(group[0])
        )
        place, open_tokens = borders[-1], 0
    if open_tokens:
        borders += [*range(place + 1, place + open_tokens), len(text)]
    return borders if borders[-1] == len(text) >= place + open_tokens else None


def _places(borders: Borders, sources: Sequence[int]) -> Places:
    """The characters of each token between the certain borders around it.

    sources: the character of the text at each place of a border.
    """
    certain = [(index, border) for index, border in enumerate(borders) if border is not None]
    return [
        (sources[start], sources[end - 1] + 1 if start < end else sources[start])
        for (one, start), (two, end) in itertools.pairwise(certain)
        for _ in range(two - one)
    ]
