"""Every metric against its reference library, to 1e-9."""

import re
import string
from collections import Counter

import numpy as np
import pytest
import sacrebleu
import scipy.stats
import seqeval.metrics
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st
from rouge_score import rouge_scorer

from adaptkit.metrics import squad
from adaptkit.metrics.classification import table_by_label
from adaptkit.metrics.generation import bleu_chrf, rouge
from adaptkit.metrics.iob import chunks
from adaptkit.metrics.modules import Classification, MultiLabel, Regression, Spans
from adaptkit.metrics.relations import semeval_f1
from adaptkit.metrics.retrieval import retrieval
from adaptkit.metrics.spans import span_table

EXACT = {"abs": 1e-9, "rel": 1e-9}
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")


def both(item):
    """Equally many predictions and references."""
    return st.lists(st.tuples(item, item), min_size=1, max_size=40)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 6).flatmap(lambda n: both(st.integers(0, n - 1))))
def test_classification_is_scikit_learns(rows):
    said, gold = map(list, zip(*rows, strict=True))
    scores = Classification().compute(predictions=said, references=gold)
    wanted = sklearn.metrics.precision_recall_fscore_support(
        gold, said, average="macro", zero_division=0
    )
    assert scores["accuracy"] == pytest.approx(sklearn.metrics.accuracy_score(gold, said), **EXACT)
    assert [scores[name] for name in ("precision", "recall", "f1")] == pytest.approx(
        wanted[:3], **EXACT
    )
    assert scores["matthews_correlation"] == pytest.approx(
        sklearn.metrics.matthews_corrcoef(gold, said), **EXACT
    )


@settings(max_examples=40, deadline=None)
@given(
    st.integers(2, 5).flatmap(lambda n: both(st.lists(st.integers(0, 1), min_size=n, max_size=n)))
)
def test_several_labels_a_row_are_scikit_learns(rows):
    said, gold = map(np.asarray, zip(*rows, strict=True))
    scores = MultiLabel().compute(predictions=said, references=gold)
    for average, suffix in (("macro", ""), ("micro", "_micro")):
        wanted = sklearn.metrics.f1_score(gold, said, average=average, zero_division=0)
        assert scores["f1" + suffix] == pytest.approx(wanted, **EXACT)
    assert scores["precision"] == pytest.approx(
        sklearn.metrics.precision_score(gold, said, average="macro", zero_division=0), **EXACT
    )
    assert scores["accuracy"] == pytest.approx(sklearn.metrics.accuracy_score(gold, said), **EXACT)


def test_the_table_by_label_is_scikit_learns():
    gold, said = np.asarray([0, 0, 1, 2, 2, 2]), np.asarray([0, 1, 1, 2, 2, 0])
    hits = [int(((gold == k) & (said == k)).sum()) for k in range(3)]
    rows = table_by_label(
        ["a", "b", "c"],
        hits,
        [(said == k).sum() for k in range(3)],
        [(gold == k).sum() for k in range(3)],
    )
    wanted = sklearn.metrics.precision_recall_fscore_support(gold, said)
    for i, row in enumerate(rows):
        assert [row[key] for key in ("precision", "recall", "f1", "support")] == pytest.approx(
            [w[i] for w in wanted], **EXACT
        )


@settings(max_examples=60, deadline=None)
@given(both(st.sampled_from([0.0, 1.0, 1.5, 2.0, -3.25, 7.0])))
def test_regression_is_scipys(rows):
    said, gold = map(np.asarray, zip(*rows, strict=True))
    scores = Regression().compute(predictions=said, references=gold)
    for name, function in (("pearson", scipy.stats.pearsonr), ("spearmanr", scipy.stats.spearmanr)):
        constant = len(set(said)) == 1 or len(set(gold)) == 1
        wanted = 0.0 if constant else function(said, gold).statistic
        assert scores[name] == pytest.approx(wanted, **EXACT)
    assert scores["mae"] == pytest.approx(sklearn.metrics.mean_absolute_error(gold, said), **EXACT)
    assert scores["rmse"] == pytest.approx(
        sklearn.metrics.root_mean_squared_error(gold, said), **EXACT
    )


TAGS = [
    st.sampled_from(["O", "B-a", "I-a", "B-b", "I-b"]),
    st.sampled_from(["O", "B-a", "I-a", "E-a", "S-a", "B-b", "I-b", "E-b", "S-b"]),
]


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(TAGS).flatmap(lambda tag: st.lists(both(tag), min_size=1, max_size=5)))
def test_entities_are_seqevals(sentences):
    said = [[one for one, _ in sentence] for sentence in sentences]
    gold = [[two for _, two in sentence] for sentence in sentences]
    scores = Spans().compute(predictions=said, references=gold)
    assert scores["f1"] == pytest.approx(
        seqeval.metrics.f1_score(gold, said, zero_division=0), **EXACT
    )
    assert scores["precision"] == pytest.approx(
        seqeval.metrics.precision_score(gold, said, zero_division=0), **EXACT
    )
    assert scores["recall"] == pytest.approx(
        seqeval.metrics.recall_score(gold, said, zero_division=0), **EXACT
    )
    report = seqeval.metrics.classification_report(gold, said, output_dict=True, zero_division=0)
    for row in span_table([chunks(tags) for tags in said], [chunks(tags) for tags in gold]):
        wanted = report[row["label"]]
        assert (row["precision"], row["recall"], row["f1"], row["support"]) == pytest.approx(
            (wanted["precision"], wanted["recall"], wanted["f1-score"], wanted["support"]), **EXACT
        )


def test_every_scheme_says_the_same():
    wanted = [(0, 1, "x"), (2, 2, "x"), (4, 6, "y")]
    for tags in (
        "B-x I-x B-x O B-y I-y I-y",  # BIO
        "I-x I-x B-x O I-y I-y I-y",  # IOB1
        "B-x E-x S-x O B-y I-y E-y",  # BIOES
        "B-x E-x S-x O B-y M-y E-y",  # BMES
        "B-x L-x U-x O B-y I-y L-y",  # BILOU
    ):
        assert chunks(tags.split()) == wanted


def squad_by_definition(said: str, gold: str) -> tuple[float, float]:
    """SQuAD's words: lower case, no punctuation, no articles; F1 of the bags of words."""

    def bag(text):
        bare = "".join(
            character for character in text.lower() if character not in set(string.punctuation)
        )
        return [word for word in re.sub(r"\b(a|an|the)\b", " ", bare).split() if word]

    one, two = bag(said), bag(gold)
    common = sum((Counter(one) & Counter(two)).values())
    if not one or not two:
        return float(one == two), float(one == two)
    return float(one == two), 0.0 if not common else 2 * common / (len(one) + len(two))


WORDS = st.lists(
    st.sampled_from(["the", "red", "a", "house!", "An", "Bär", "u.s.", "x-y", "42"]), max_size=6
).map(" ".join)


@settings(max_examples=150, deadline=None)
@given(WORDS, st.lists(WORDS, min_size=1, max_size=3))
def test_answers_are_scored_as_squad_defines(said, references):
    wanted = [squad_by_definition(said, reference) for reference in references]
    assert squad.exact_match(said, references) == max(exact for exact, _ in wanted)
    assert squad.f1(said, references) == pytest.approx(max(f1 for _, f1 in wanted), **EXACT)


def test_chinese_answers_are_counted_by_character():
    assert squad.f1("北京大学", ["北京"]) == pytest.approx(2 / 3)
    assert squad.exact_match("《北京》。", ["北京"]) == 1
    assert squad.f1("308分", ["308 分"]) == 1
    assert squad.exact_match("", []) == squad.f1("", []) == 1
    assert squad.exact_match("北京", []) == 0


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


def test_the_official_score_of_semeval():
    """By hand: A 2 right of 3 said and 3 gold; B the wrong way round is wrong but said and gold;
    Other does not count.
    """
    gold = ["A(e1,e2)", "A(e1,e2)", "A(e2,e1)", "B(e1,e2)", "Other", "Other"]
    said = ["A(e1,e2)", "A(e1,e2)", "A(e1,e2)", "B(e2,e1)", "Other", "B(e1,e2)"]
    assert semeval_f1(said, gold) == pytest.approx((2 / 3 + 0) / 2)
    assert semeval_f1(gold, gold) == 1
    assert (
        semeval_f1(["A(e1,e2)", "B(e1,e2)"], ["A(e1,e2)", "Other"]) == 1
    )  # B is no relation of the gold


def test_retrieval_by_hand():
    vectors = np.eye(4)
    found = np.stack([vectors[0], vectors[1], vectors[1], vectors[3]])
    scores = retrieval(vectors, found, ["a", "b", "c", "d"], cutoffs=(1, 4))
    assert scores == pytest.approx(
        {"recall_at_1": 0.5, "recall_at_4": 1.0, "mean_reciprocal_rank": (1 + 0.5 + 0.25 + 1) / 4}
    )
    twice = retrieval(
        vectors[[0, 0, 1]], vectors[:3], ["a", "a", "b"]
    )  # one document with two queries counts once
    assert twice["recall_at_1"] == pytest.approx(2 / 3)
