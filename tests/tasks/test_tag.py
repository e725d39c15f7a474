"""Entities come back whole from any windows; bad ones are named with their line."""

import json

import numpy as np
import pytest
from adaptkit.recipes import tag
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptkit import AdaptkitError, Table, load_tokenizer, read_table
from adaptkit.data.alignment import tokens_of
from adaptkit.data.collate import IGNORED
from adaptkit.data.entities import join_tokens
from adaptkit.models.untrained.scratch import make_model
from adaptkit.tasks.tag import Tag
from tests.helpers.files import write
from tests.helpers.tokenizers import FAST, kind


def perfect_tags(task, encoded) -> np.ndarray:
    """The outputs of a model that knows all labels: -100 becomes some wrong tag."""
    width = max(map(len, encoded["labels"]))
    rows = [[1 if label == IGNORED else label for label in labels] for labels in encoded["labels"]]
    return sure([row + [1] * (width - len(row)) for row in rows], task)


def sure(numbers: list[list[int]], task) -> np.ndarray:
    """Log probabilities of a model that is sure of these tags."""
    return 9.0 * np.eye(len(task.labels))[np.asarray(numbers)]


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
    answers = task.decode(perfect_tags(task, encoded), encoded, table)
    assert [answer["tags"] for answer in answers] == [tags, ["B-x", "B-y"]]
    assert task.score(answers, table)["f1"] == 1


def answers_of_a_perfect_model(tokenizer, row, max_length=128):
    """The answers and scores of a model that knows all labels, and the tags that it was taught."""
    other = {"tokens": ["Bern", "up"], "tags": ["B-x", "B-y"]}
    gold = Tag().read(Table([row], "x"))
    task = Tag().fit_labels(Tag().read(Table([other], "x")))
    encoded = task.encode(gold, tokenizer, max_length)
    answers = task.decode(perfect_tags(task, encoded), encoded, gold)
    taught = [task.labels[label] for label in encoded["labels"][0] if label != IGNORED]
    return answers[0], task.score(answers, gold), taught


KINDS = [*FAST, "bert", "canine", "byt5"]
HEART, FAMILY = "\u2764\ufe0f", "\U0001f468\u200d\U0001f469\u200d\U0001f467"


@pytest.mark.parametrize("name", ["word pieces", "letters only"])
@pytest.mark.parametrize("dropped", ["\u200b", "\u00ad", "\u200e\u200f"])
def test_a_word_without_a_piece_is_inside_the_entity_around_it(name, dropped):
    words = ["in", "new", dropped, "bern", dropped, "up", "lamp", dropped, "cat"]
    tags = ["O", "B-x", "I-x", "I-x", "O", "B-x", "B-y", "I-y", "O"]
    row = {"tokens": words, "tags": tags}
    answer, scores, taught = answers_of_a_perfect_model(kind(name), row)
    assert taught == ["O", "B-x", "I-x", "B-x", "B-y", "O"]
    assert answer["tags"] == [*tags[:7], "O", "O"]  # what is at the end of an entity is not seen
    ends = [(entity["text"], entity["label"]) for entity in answer["entities"]]
    assert ends == [(f"new {dropped} bern", "x"), ("up", "x"), ("lamp", "y")]
    assert scores["f1"] == 1


@pytest.mark.parametrize("name", ["word pieces", "letters only"])
def test_an_entity_begins_at_its_first_word_with_a_piece(name):
    words = ["new", "\u200b", "bern", "up"]
    row = {"tokens": words, "tags": ["B-x", "B-x", "I-x", "O"]}
    answer, scores, taught = answers_of_a_perfect_model(kind(name), row)
    assert taught == ["B-x", "B-x", "O"]
    assert [entity["text"] for entity in answer["entities"]] == ["new", "bern"]
    assert scores["f1"] == 1


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize(
    "word", [" bern", "\u200bbern", "\u00a0 bern ", "\ufeffbern", "\u0301bern"]
)
def test_a_word_that_begins_with_dropped_characters_keeps_its_label(name, word):
    row = {"tokens": ["new", word, "lamp"], "tags": ["O", "B-x", "O"]}
    answer, scores, taught = answers_of_a_perfect_model(kind(name), row)
    assert (taught, answer["tags"], scores["f1"]) == (row["tags"], row["tags"], 1)
    assert answer["entities"][0]["text"].endswith("bern")


@pytest.mark.parametrize("name", [name for name in KINDS if name != "letters only"])
@pytest.mark.parametrize(
    "text",
    ["cafe\u0301", "किताबें", "كِتَابٌ", "עוֹלָםֽ", HEART, FAMILY, "กิน", "か\u3099"],
)
def test_marks_are_found_with_the_word_that_they_belong_to(name, text):
    row = {"text": f"a {text} b", "entities": [[2, 2 + len(text), "x"]]}
    answer, scores, taught = answers_of_a_perfect_model(kind(name), row)
    assert [entity["text"] for entity in answer["entities"]] == [text]
    assert scores["f1"] == 1
    assert taught[0] == taught[-1] == "O"


def test_blanks_and_invisible_characters_around_an_entity_are_not_part_of_it():
    rows = Tag().read(Table([{"text": "in \u200bBern\u200e now", "entities": [[2, 10, "x"]]}], "x"))
    assert rows.rows[0]["entities"] == [{"start": 4, "end": 8, "label": "x"}]
    blank = Table([{"text": "in \u200b now", "entities": [[2, 4, "x"]]}], "x")
    with pytest.raises(AdaptkitError, match="x row 0: an entity 'x' holds blanks or invisible"):
        Tag().read(blank)


STRANGE = st.sampled_from(
    [
        "bern",
        " bern",
        "cafe\u0301",
        "\u200b",
        "किताबें",
        "हैं",
        "كِتَابٌ",
        HEART,
        "\u200flamp",
        "北",
        "京",
        "!",
    ]
)


def _begun_in_tokens(units, offsets) -> list[int]:
    """The units of which a token holds the beginning and nothing new of the unit before.

    One that begins inside a token of the unit before continues with the tag of that one. What an
    earlier token holds (the first bytes of a character) is not new.
    """
    found, before, ended = [], 0, 0
    new = []
    for one, two in offsets:
        new.append((max(one, ended), two))
        ended = max(ended, two)
    for unit, (start, end) in enumerate(units):
        held = {place for one, two in offsets for place in range(max(one, start), min(two, end))}
        if held and any(before <= one <= min(held) < two for one, two in new):
            found.append(unit)
        before = end
    return found


@settings(max_examples=80, deadline=None)
@given(st.sampled_from(KINDS), st.lists(STRANGE, min_size=1, max_size=12), st.data())
def test_words_that_a_token_touches_keep_their_tags(name, words, data):
    """Each is taught its tag and answers with it, whatever the tokenizer drops beside it."""
    tags, inside = [], None
    for _ in words:
        inside = data.draw(
            st.sampled_from([None, "B-x", "B-y", *([f"I{inside[1:]}"] if inside else [])])
        )
        tags.append(inside or "O")
    tokenizer = kind(name)
    row = {"tokens": words, "tags": tags}
    answer, _, taught = answers_of_a_perfect_model(tokenizer, row, max_length=512)  # one window
    text, units = join_tokens(words)
    _, offsets = tokens_of(tokenizer, text)
    kept = _begun_in_tokens(units, offsets)
    assert [answer["tags"][unit][1:] for unit in kept] == [tags[unit][1:] for unit in kept]
    assert len(taught) == len(kept)
    whole = all(tag[0] != "B" or unit in kept for unit, tag in enumerate(tags))
    assert not whole or [answer["tags"][unit] for unit in kept] == [tags[unit] for unit in kept]


def test_gold_that_the_model_cannot_reach_still_counts(tokenizer):
    """The score is on the rows' own entities, not on what is left of them after encoding."""
    text = "the new lamp"
    task = Tag().read(Table([{"text": text, "entities": [[5, 7, "x"], [8, 12, "y"]]}], "x"))
    learned = Tag().fit_labels(task)
    encoded = learned.encode(task, tokenizer, 16)
    answers = learned.decode(perfect_tags(learned, encoded), encoded, task)
    assert [(e["label"], e["text"]) for e in answers[0]["entities"]] == [
        ("x", "new"),
        ("y", "lamp"),
    ]
    assert learned.score(answers, task) == pytest.approx(
        {"f1": 0.5, "precision": 0.5, "recall": 0.5, "f1_macro": 0.5}
    )


def _shifted(text: str, names: list[str], by: int) -> Table:
    rows = []
    for name in names:
        whole = text.format(name)
        start = whole.index(name) + by
        entity = {"start": start, "end": start + len(name), "label": "x"}
        rows.append({"text": whole, "entities": [entity]})
    return Table(rows, "rows", list(range(1, len(rows) + 1)))


def test_places_that_are_all_shifted_are_refused():
    """They cannot be found as whole words, so nothing but their absence would be learned."""
    names = ["Mara", "Jonas", "Ines", "Tom"]
    assert len(Tag().read(_shifted("So {} said", names, 0))) == 4
    with pytest.raises(AdaptkitError, match="rows:1: 4 of 4 entities begin or end inside a word"):
        Tag().read(_shifted("So {} said", names, 1))
    with pytest.raises(AdaptkitError, match="do places count in UTF-16, as in JavaScript"):
        Tag().read(_shifted("\U0001f600 {} said", names, 1))
    assert len(Tag(span_end="exclusive").read(_shifted("So {} said", names, 1))) == 4
    few = _shifted("So {} said", names, 0).and_rows(_shifted("So {} said", names[:2], 1))
    assert len(Tag().read(few)) == 6


def test_spans_with_either_end(tmp_path):
    text = "温格战胜曼联"
    inclusive = {"text": text, "label": {"name": {"温格": [[0, 1]]}, "team": {"曼联": [[4, 5]]}}}
    exclusive = {
        "text": text,
        "entities": [{"start": 0, "end": 2, "label": "name"}, [4, 6, "team"]],
    }
    wanted = [{"start": 0, "end": 2, "label": "name"}, {"start": 4, "end": 6, "label": "team"}]
    for number, row in enumerate((inclusive, exclusive)):
        path = write(tmp_path / f"{number}.jsonl", json.dumps(row))
        assert Tag().read(read_table(path)).rows[0]["entities"] == wanted
    bare = write(
        tmp_path / "b.jsonl",
        json.dumps({"text": text, "entities": [[0, 1, "name"], [4, 5, "team"]]}),
    )
    assert Tag(span_end="inclusive").read(read_table(bare)).rows[0]["entities"] == wanted


@pytest.mark.parametrize(
    "row, message",
    [
        (
            {"text": "abc", "entities": [[1, 1, "x"]]},
            r":1: an entity reaches from 1 to 1.*--span_end inclusive",
        ),
        (
            {"text": "abc", "entities": [[1, 9, "x"]]},
            r":1: an entity reaches from 1 to 9, the text has 3 characters",
        ),
        (
            {"text": "abc", "entities": [{"start": 0, "end": 2, "label": "x", "text": "bc"}]},
            "'bc' is not at 0: the text there is 'ab'",
        ),
        ({"text": "abc", "entities": ["x"]}, "entities should be"),
        ({"tokens": ["a", "b"], "tags": ["O"]}, ":1: 2 words and 1 tags"),
        ({"tokens": ["a"], "tags": ["X-y"]}, "'X-y' is not a tag"),
        ({"tokens": "a b", "tags": ["O"]}, "not a list of words"),
    ],
)
def test_bad_entities_are_placed(tmp_path, row, message):
    with pytest.raises(AdaptkitError, match=message):
        Tag().read(read_table(write(tmp_path / "a.jsonl", json.dumps(row))))


def test_ends_that_look_inclusive_are_asked_about(tmp_path):
    row = {"text": "Anna lives in Bern", "entities": [[0, 3, "person"], [14, 17, "place"]]}
    (tmp_path / "a.jsonl").write_text(json.dumps(row))
    with pytest.raises(
        AdaptkitError,
        match="2 of 2 entities end one character before the end of a word.*--span_end inclusive",
    ):
        Tag().read(read_table(tmp_path / "a.jsonl"))
    assert (
        Tag(span_end="inclusive")
        .read(read_table(tmp_path / "a.jsonl"))
        .rows[0]["entities"][1]["end"]
        == 18
    )


@pytest.mark.parametrize(
    "first, message",
    [
        ({"entities": []}, "no row holds an entity"),
        ({"entities": None}, r"a\.jsonl:1: the row has no 'entities'; write \[\]"),
        ({}, r"a\.jsonl:1: the row has no 'entities'; write \[\]"),
    ],
)
def test_a_row_without_entities_says_so(tmp_path, first, message):
    rows = [{"text": "abc", **first}, {"text": "x y", "entities": []}]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(AdaptkitError, match=message):
        tag.main(["--train_file", str(tmp_path / "a.jsonl"), "--output_dir", str(tmp_path / "o")])


def test_characters_without_a_piece_of_their_own_are_tagged(tmp_path):
    """A byte-level tokenizer makes one piece of several characters, and several pieces of one."""
    folder = make_model("llama", ["北京大学在中国"] * 50 + ["我爱"], tmp_path, vocab_size=300)[0]
    tokenizer = load_tokenizer(folder)
    task = Tag()
    table = task.read(
        Table(
            [
                {"text": "北京大学在中国", "entities": [[0, 4, "org"], [5, 7, "place"]]},
                {"text": "鼠在中国", "entities": [[0, 1, "x"]]},
            ],
            "x",
        )
    )
    task = task.fit_labels(table)
    encoded = task.encode(table, tokenizer, 32)
    assert len(encoded["input_ids"][0]) < 7  # some pieces hold several characters
    for firsts in encoded["_first"]:
        own = [unit for unit in firsts if unit >= 0]
        assert len(own) == len(set(own))
    numbers = [[max(label, 0) for label in labels] for labels in encoded["labels"]]
    width = max(map(len, numbers))
    outputs = sure([row + [0] * (width - len(row)) for row in numbers], task)
    answers = task.decode(outputs, encoded, table)
    assert {"start": 0, "end": 1, "label": "x", "text": "鼠"} in answers[1]["entities"]
    covered = {
        place
        for entity in answers[0]["entities"]
        for place in range(entity["start"], entity["end"])
    }
    assert {0, 1, 2, 3} <= covered
    assert "no piece of their own" in task.encoding_issues(encoded, table)[0].text
