"""Tasks that read: what they make of rows, and what they make of outputs. MiniLM's real tokenizer;
outputs are made by hand.
"""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from adaptkit import load_tokenizer
from adaptkit.data.collate import IGNORED
from adaptkit.data.entities import join_tokens, tags_from_entities, units_of
from adaptkit.data.tables import Table
from adaptkit.metrics.spans import span_scores
from adaptkit.tasks.answer import Answer
from adaptkit.tasks.classify import Classify
from adaptkit.tasks.embed import Embed
from adaptkit.tasks.relate import Relate, mark
from adaptkit.tasks.score import Score
from adaptkit.tasks.tag import Tag


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer("all-MiniLM-L6-v2")


class Outputs:
    def __init__(self, **named):
        self.__dict__.update(named)


def perfect_tags(encoded) -> np.ndarray:
    """The outputs of a model that knows all labels: -100 becomes some wrong tag."""
    width = max(map(len, encoded["labels"]))
    rows = [[1 if label == IGNORED else label for label in labels] for labels in encoded["labels"]]
    return np.asarray([row + [1] * (width - len(row)) for row in rows])


WORDS = st.lists(
    st.sampled_from(["Bern", "unbelievably", "re-imagining", "e.g.", "北", "京", "!", "naïve"]),
    min_size=1,
    max_size=40,
)


@settings(max_examples=40, deadline=None)
@given(WORDS, st.data())
def test_entities_come_back_whole_from_any_windows(words, data):
    """Tags to pieces to windows to tags again, for any words, any entities and any window."""
    tokenizer = load_tokenizer("all-MiniLM-L6-v2")
    tags, kind = [], None
    for _ in words:
        kind = data.draw(
            st.sampled_from([None, "B-x", "B-y", *([f"I-{kind[2:]}"] if kind else [])])
        )
        tags.append(kind or "O")
    task = Tag(doc_stride=data.draw(st.integers(0, 8)))
    table = task.read(
        Table(
            [{"tokens": words, "tags": tags}, {"tokens": ["Bern", "up"], "tags": ["B-x", "B-y"]}],
            "x",
        )
    )
    task = task.fit_labels(table)
    encoded = task.encode(table, tokenizer, data.draw(st.integers(8, 64)))
    answers = task.decode(perfect_tags(encoded), encoded, table)
    assert [answer["tags"] for answer in answers] == [tags, ["B-x", "B-y"]]
    assert task.score(answers, table)["f1"] == 1


def test_gold_that_the_model_cannot_reach_still_counts(tokenizer):
    """The score is on the rows' own entities, not on what is left of them after encoding."""
    text = "the new lamp"
    task = Tag().read(Table([{"text": text, "entities": [[5, 7, "x"], [8, 12, "y"]]}], "x"))
    learned = Tag().fit_labels(task)
    encoded = learned.encode(task, tokenizer, 16)
    answers = learned.decode(perfect_tags(encoded), encoded, task)
    assert [(e["label"], e["text"]) for e in answers[0]["entities"]] == [
        ("x", "new"),
        ("y", "lamp"),
    ]
    assert learned.score(answers, task) == pytest.approx(
        {"f1": 0.5, "precision": 0.5, "recall": 0.5, "f1_macro": 0.5}
    )


def test_of_overlapping_entities_the_longest_is_tagged_and_both_are_scored():
    text = "University of Bern"
    entities = [{"start": 14, "end": 18, "label": "city"}, {"start": 0, "end": 18, "label": "org"}]
    assert tags_from_entities(entities, units_of(text)) == ["B-org", "I-org", "I-org"]
    assert span_scores([[(0, 18, "org")]], [[(0, 18, "org"), (14, 18, "city")]])["recall"] == 0.5


def test_words_are_joined_as_their_script_is_written():
    text, places = join_tokens(["我", "在", "Bern", "!"])
    assert text == "我在 Bern !"
    assert [text[a:b] for a, b in places] == ["我", "在", "Bern", "!"]
    odd = "don't 北京2号_x"
    assert [odd[a:b] for a, b in units_of(odd)] == ["don", "'", "t", "北", "京", "2", "号", "_x"]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 60), st.integers(1, 3), st.integers(24, 64), st.integers(0, 16))
def test_answers_are_found_in_any_window(first, length, max_length, stride):
    tokenizer = load_tokenizer("all-MiniLM-L6-v2")
    words = [f"word{i}" for i in range(64)]
    context = " ".join(words)
    text = " ".join(words[first : first + length])
    rows = [
        {
            "question": "Which?",
            "context": context,
            "answers": [{"text": text, "start": context.index(words[first])}],
        }
    ]
    task = Answer(doc_stride=stride)
    table = task.read(Table(rows, "x"))
    encoded = task.encode(table, tokenizer, max_length)
    outputs = np.zeros((len(encoded), max(map(len, encoded["input_ids"])), 2))
    whole = 0
    for window, (start, end) in enumerate(encoded["labels"]):
        if start != encoded["_nothing"][window]:
            outputs[window, start, 0] = outputs[window, end, 1] = 5
            whole += 1
    answers = task.decode(outputs, encoded, table)
    if whole:
        assert (answers[0]["text"], answers[0]["start"]) == (text, context.index(words[first]))
        assert task.score(answers, table) == {"exact_match": 1.0, "f1": 1.0}


@pytest.mark.parametrize("answer", [" Mira", "Mira ", " Mira "])
def test_blanks_around_an_answer_count_for_nothing(tokenizer, answer):
    context = "The captain was Mira at sea."
    rows = [
        {
            "question": "Who?",
            "context": context,
            "answers": [{"text": answer, "start": context.index(answer)}],
        }
    ]
    task = Answer()
    table = task.read(Table(rows, "x"))
    encoded = task.encode(table, tokenizer, 64)
    start, end = encoded["labels"][0]
    assert tokenizer.decode(encoded["input_ids"][0][start : end + 1]) == "mira"


@pytest.mark.parametrize(
    ("text", "count"),
    [("\u0939\u093f\u0928\u094d\u0926\u0940 hai", 2), ("cafe\u0301!", 2), ("\u6c34\u58f6 a", 3)],
)
def test_marks_belong_to_the_word_before(text, count):
    units = units_of(text)
    assert len(units) == count
    assert "".join(text[start:end] for start, end in units) == text.replace(" ", "")


def test_no_answer_is_an_answer_where_the_training_rows_have_it(tokenizer):
    rows = [
        {"question": "a?", "context": "b c d", "answers": [{"text": "c", "start": 2}]},
        {"question": "x?", "context": "y z", "answers": []},
    ]
    table = Answer().read(Table(rows, "x"))
    task = Answer().fit_labels(table)
    encoded = task.encode(table, tokenizer, 16)
    outputs = np.zeros((2, max(encoded["length"]), 2))
    outputs[:, 0] = 1  # nothing, a little
    outputs[0, encoded["labels"][0][0], :] = 3
    answers = task.decode(outputs, encoded, table)
    assert [answer["text"] for answer in answers] == ["c", ""]
    assert task.score(answers, table)["no_answer_accuracy"] == 1
    assert (
        Answer().decode(outputs, encoded, table)[1]["text"] != ""
    )  # a task that has not learned of it always answers
    strict = Answer(unanswerable=True, null_threshold=10.0).decode(outputs, encoded, table)
    assert strict[1]["text"] != ""


@pytest.mark.parametrize(
    "head, tail, wanted",
    [((0, 3), (8, 11), "@ cat @ and # dog #"), ((8, 11), (0, 3), "# cat # and @ dog @")],
)
def test_the_direction_of_a_relation_is_in_the_marks(head, tail, wanted):
    spans = [dict(zip(("start", "end"), span, strict=True)) for span in (head, tail)]
    assert mark("cat and dog", *spans) == wanted
    assert mark("cat and dog", {"start": 0, "end": 3}, {"start": 2, "end": 5}) is None


def test_relations_of_entities_keep_their_direction():
    entities = [{"start": 0, "end": 3, "label": "x"}, {"start": 8, "end": 11, "label": "y"}]
    relations = [{"head": 1, "tail": 0, "label": "bites"}, {"head": 0, "tail": 1, "label": "sees"}]
    table = Table([{"text": "cat and dog", "entities": entities, "relations": relations}], "x", [7])
    rows = Relate(columns={"label": "relation"}).read(table)
    assert [row["label"] for row in rows.rows] == ["bites(e2,e1)", "sees(e1,e2)"]
    assert rows.where(1) == "x:7"


def test_several_labels_a_row(tokenizer):
    rows = [
        {"text": "a", "label": "x|z"},
        {"text": "b", "label": ""},
        {"text": "c", "label": ["y", "x"]},
    ]
    task = Classify(multi_label=True)
    table = task.read(Table(rows, "x"))
    task = task.fit_labels(table)
    encoded = task.encode(table, tokenizer, 8)
    assert encoded["labels"] == [[1, 0, 1], [0, 0, 0], [1, 1, 0]]
    logits = torch.tensor([[3.0, -3, 0.5], [-1, -1, -1], [2, -2, -2]])
    labels = torch.tensor(encoded["labels"])
    loss = task.loss(Outputs(logits=logits), {}, labels, labels.numel())
    assert loss == pytest.approx(functional.binary_cross_entropy_with_logits(logits, labels).item())
    answers = task.decode(logits.numpy(), encoded, table)
    assert [answer["labels"] for answer in answers] == [["x", "z"], [], ["x"]]
    assert task.score(answers, table)["accuracy"] == pytest.approx(2 / 3)
    assert [row["support"] for row in task.details(answers, table)] == [2, 1, 1]


def test_class_weights_make_labels_count_alike():
    rows = Table([{"text": str(i), "label": "a" if i else "b"} for i in range(8)], "x")
    task = Classify(class_weights=True).fit_labels(Classify(class_weights=True).read(rows))
    assert task.weights == pytest.approx([8 / 14, 4.0])
    assert sum(
        task.weights[task.labels.index(row["label"])] for row in rows.rows
    ) / 8 == pytest.approx(1)
    logits, labels = torch.randn(8, 2), torch.tensor([1, *[0] * 7])
    wanted = (
        functional.cross_entropy(logits, labels, torch.tensor(task.weights), reduction="sum") / 8
    )
    assert task.loss(Outputs(logits=logits), {}, labels, 8).item() == pytest.approx(wanted.item())


def test_scores_come_back_in_their_unit_and_range(tokenizer):
    table = Score().read(
        Table([{"text": t, "score": s} for t, s in (("a", 1), ("b", 2), ("c", 6))], "x")
    )
    task = Score().fit_labels(table)
    encoded = task.encode(table, tokenizer, 8)
    answers = task.decode(np.asarray(encoded["labels"])[:, None], encoded, table)
    assert [answer["score"] for answer in answers] == pytest.approx([1, 2, 6])
    assert task.decode(np.asarray([[99.0], [-99.0], [0.0]]), encoded, table)[0]["score"] == 6
    assert task.baseline(table, table)["mean_baseline_mae"] == pytest.approx(2.0)


def test_each_text_must_find_its_own_pair(tokenizer):
    """In-batch negatives, both ways, by the definition."""
    task = Embed(pooling="cls", temperature=0.1)
    states = torch.randn(6, 4, 8)
    vectors = functional.normalize(states[:, 0], dim=-1)
    cosines = vectors[:3] @ vectors[3:].T / 0.1
    wanted = (
        functional.cross_entropy(cosines, torch.arange(3))
        + functional.cross_entropy(cosines.T, torch.arange(3))
    ) / 2
    batch = {"attention_mask": torch.ones(6, 4)}
    assert task.loss(
        Outputs(last_hidden_state=states), batch, torch.ones(3), 3
    ).item() == pytest.approx(wanted.item(), rel=1e-5)
    padded = torch.cat([states, torch.randn(6, 2, 8)], 1)
    mask = torch.cat([batch["attention_mask"], torch.zeros(6, 2)], 1)
    mean = Embed()
    torch.testing.assert_close(
        mean.pool(Outputs(last_hidden_state=states), batch),
        mean.pool(Outputs(last_hidden_state=padded), {"attention_mask": mask}),
    )
