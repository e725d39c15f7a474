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
    import sacrebleu

    most = max(len(texts) for texts in references)
    columns: Any = [
        [texts[i] if i < len(texts) else None for texts in references] for i in range(most)
    ]
    characters = (
        written_in_characters([texts[0] for texts in references]) if language is None else False
    )
    tokenizer = "zh" if language == "zh" or characters else "char" if language == "ja" else "13a"
    bleu = sacrebleu.corpus_bleu(list(predictions), columns, tokenize=tokenizer)
    return {"bleu": bleu.score, "chrf": sacrebleu.corpus_chrf(list(predictions), columns).score}


def rouge(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, float]:
    """Mean F1 of ROUGE-1, -2 and -L, 0 to 1, each with the best reference.

    rouge-score drops every character except a-z and 0-9. If most letters of the references are
    others, words are separated by blanks, and in scripts without blanks each character is a word.
    """
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
    return {name: float(np.mean([score[name].fmeasure for score in scores])) for name in ROUGES}


class _AnyScript:
    """rouge-score's tokenizer protocol, with words of every script."""

    def tokenize(self, text: str) -> list[str]:
        return words(text)
