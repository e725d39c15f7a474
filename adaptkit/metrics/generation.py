"""BLEU, chrF and ROUGE from sacrebleu and rouge-score, with tokenizers that fit the script.

>>> from adaptkit.metrics.generation import rouge
>>> rouge(["a red house"], [["the red house"]])["rouge1"]
0.6666666666666666
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from adaptkit.metrics.chrf import chrf, chrf_counts
from adaptkit.metrics.row_scores import RowScores, Sums, mean_rows
from adaptkit.metrics.scripts import written_in_characters
from adaptkit.metrics.squad import words

ROUGES = ("rouge1", "rouge2", "rougeL")


def bleu_chrf(
    predictions: Sequence[str], references: Sequence[Sequence[str]], language: str | None = None
) -> dict[str, float]:
    """Corpus BLEU and chrF, 0 to 100. `references`: one or more per prediction.

    `language`: zh and ja select sacrebleu's tokenizers for them; None detects them from the
        references;
    otherwise 13a.
    """
    return bleu_chrf_rows(predictions, references, language)()


def bleu_chrf_rows(
    predictions: Sequence[str], references: Sequence[Sequence[str]], language: str | None = None
) -> RowScores:
    """`bleu_chrf` of any rows; the tokenizer is chosen by all."""
    import sacrebleu

    characters = (
        written_in_characters([texts[0] for texts in references]) if language is None else False
    )
    tokenizer = "zh" if language == "zh" or characters else "char" if language == "ja" else "13a"
    metric = sacrebleu.BLEU(tokenize=tokenizer, effective_order=True)  # for single sentences

    def counts(text: str, wanted: Sequence[str]) -> list[int]:
        found: Any = metric.sentence_score(text, list(wanted))
        return [found.sys_len, found.ref_len, *found.counts, *found.totals]

    pairs = list(zip(predictions, references, strict=True))
    tables = [np.asarray([of(*p) for p in pairs], float) for of in (counts, chrf_counts)]
    return RowScores(tuple(Sums(table.reshape(len(pairs), -1)) for table in tables), _bleu_chrf)


def _bleu_chrf(by_word: np.ndarray, by_character: np.ndarray) -> dict[str, float]:
    import sacrebleu

    ours, theirs, *counts = by_word.astype(int).tolist()
    bleu = sacrebleu.BLEU.compute_bleu(counts[:4], counts[4:], ours, theirs, smooth_method="exp")
    return {"bleu": bleu.score, "chrf": chrf(by_character.reshape(3, -1))}


def rouge(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, float]:
    """Mean F1 of ROUGE-1, -2 and -L, 0 to 1, each with the best reference.

    rouge-score drops every character except a-z and 0-9. If most letters of the references are
    others, words are separated by blanks, and in scripts without blanks each character is a word.
    """
    return rouge_rows(predictions, references)()


def rouge_rows(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> RowScores:
    """`rouge` of any rows; how words are separated is chosen by all."""
    from rouge_score import rouge_scorer

    letters = re.findall(r"\w", "".join(texts[0] for texts in references[:200]))
    others = 2 * sum(not letter.isascii() for letter in letters) > len(letters)
    scorer = rouge_scorer.RougeScorer(
        ROUGES, use_stemmer=False, tokenizer=_AnyScript() if others else None
    )
    scores = [
        scorer.score_multi(list(texts), predictions)
        for predictions, texts in zip(predictions, references, strict=True)
    ]
    return mean_rows({name: [score[name].fmeasure for score in scores] for name in ROUGES})


class _AnyScript:
    """rouge-score's tokenizer protocol, with words of every script."""

    def tokenize(self, text: str) -> list[str]:
        return words(text)
