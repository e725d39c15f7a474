"""Written texts against sacrebleu and rouge-score."""

import numpy as np
import pytest
import sacrebleu
from rouge_score import rouge_scorer

from adaptkit.metrics.generation import bleu_chrf, rouge
from tests.metrics.reference import EXACT

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")
ENGLISH = ["the cat sat on the mat .", "a dog barks", "he said : hello , world !"]
CHINESE = ["我们明天去北京。", "这只猫很可爱", "他说：你好！"]


@pytest.mark.parametrize(
    "texts, language, tokenizer",
    [(ENGLISH, None, "13a"), (CHINESE, None, "zh"), (CHINESE, "zh", "zh")],
)
def test_bleu_and_chrf_are_sacrebleus(texts, language, tokenizer):
    said = [text[: len(text) * 2 // 3] + text[:4] for text in texts]
    references = [[texts[0], texts[1]], [texts[1]], [texts[2]]]
    columns = [texts, [texts[1], None, None]]
    scores = bleu_chrf(said, references, language)
    assert scores["bleu"] == pytest.approx(
        sacrebleu.corpus_bleu(said, columns, tokenize=tokenizer).score, **EXACT
    )
    assert scores["chrf"] == pytest.approx(sacrebleu.corpus_chrf(said, columns).score, **EXACT)
    assert scores["bleu"] > 1
    assert bleu_chrf(texts, [[text] for text in texts])["bleu"] == pytest.approx(100)


def test_rouge_is_rouge_scores_and_counts_chinese():
    scorer = rouge_scorer.RougeScorer(["rouge1", "rouge2", "rougeL"])
    said, references = (
        ["the cat sat down", "dogs bark"],
        [["a cat sat on a mat", "the cat is down"], ["a dog barks"]],
    )
    wanted = [scorer.score_multi(texts, text) for texts, text in zip(references, said, strict=True)]
    for name, value in rouge(said, references).items():
        assert value == pytest.approx(np.mean([score[name].fmeasure for score in wanted]), **EXACT)
    assert rouge(["我们去北京"], [["我们明天去北京"]])["rouge1"] == pytest.approx(2 * 5 / (5 + 7))


@pytest.mark.parametrize(
    "text",
    [
        "Это очень хороший дом.",
        "هذا بيت جميل جدا",
        "이 집은 아주 좋다",
        "यह घर बहुत अच्छा है",
        "บ้านหลังนี้ สวย มาก",
    ],
)
def test_rouge_counts_words_of_every_script(text):
    assert set(rouge([text], [[text]]).values()) == {1.0}
    half = " ".join(text.split()[:-1])
    assert 0.5 < rouge([half], [[text]])["rouge1"] < 1
    assert rouge(["?"], [[text]])["rouge1"] == 0
