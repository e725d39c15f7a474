"""Exact match and F1 of extracted answers as in SQuAD, also for scripts without blanks.

Rajpurkar et al. 2016.

>>> from adaptkit.metrics.squad import f1
>>> f1("the red house", ["A red, old house!"])
0.8
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

from adaptkit.metrics.scripts import UNSPACED

_PUNCTUATION = str.maketrans("", "", string.punctuation)

_WIDE_PUNCTUATION = str.maketrans("", "", "，。！？；：、（）《》〈〉「」『』【】〔〕“”‘’—…·～")

_ARTICLES = re.compile(r"\b(a|an|the)\b")

_CHARACTER = re.compile(rf"([{UNSPACED}])")


def normalize(text: str) -> str:
    """Lower-case the text and remove punctuation, articles and extra white space."""
    text = text.lower().translate(_PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", text).split())


def words(text: str) -> list[str]:
    """The words that F1 counts.

    In unspaced scripts each character is a word, and their punctuation is removed too.
    """
    text = normalize(text)
    if _CHARACTER.search(text):
        text = _CHARACTER.sub(r" \1 ", text.translate(_WIDE_PUNCTUATION))
    return text.split()


def exact_match(answer: str, references: Sequence[str]) -> float:
    """1 if the answer equals a reference; without references, 1 if there is no answer."""
    return float(any(words(answer) == words(reference) for reference in references or [""]))


def f1(answer: str, references: Sequence[str]) -> float:
    """The best word overlap with a reference; without references, 1 if there is no answer."""
    return max(_overlap(words(answer), words(reference)) for reference in references or [""])


def _overlap(predictions: list[str], references: list[str]) -> float:
    if not predictions or not references:
        return float(predictions == references)
    both = (Counter(predictions) & Counter(references)).total()
    if not both:
        return 0.0
    precision, recall = both / len(predictions), both / len(references)
    return 2 * precision * recall / (precision + recall)
