"""Copies with other words, dropped words and swapped words; labels stay."""

import json
import random

import pytest
from adaptkit.recipes import chat, tag
from hypothesis import given
from hypothesis import strategies as st

from adaptkit import AdaptkitError, Table
from adaptkit.data.augmentation import Augmentation, augment, read_synonyms


def test_copies_are_changed_and_labels_stay(tmp_path):
    table = Table(
        [
            {"text": "my kettle leaks a lot today", "label": "a"},
            {"text": "水壶漏水了", "label": "b"},
        ],
        "x",
    )
    how = Augmentation(copies=20, dropout=0.3, swap=0.3, synonyms={"kettle": ["pot"]})
    more = augment(table, ["text"], how, seed=1)
    assert more.rows[:2] == table.rows
    assert [row["label"] for row in more.rows] == ["a", "b"] * 21
    texts = [row["text"] for row in more.rows]
    assert len(set(texts)) > 20
    assert any("pot" in text for text in texts)
    assert all(set(text) <= set("水壶漏水了") for text in texts[1::2])
    assert augment(table, ["text"], how, seed=1).rows == more.rows
    with pytest.raises(AdaptkitError, match="tag needs its texts as they are"):
        tag.main(["--augment_copies", "1", "--output_dir", str(tmp_path / "out")])


def test_synonyms_are_found_beside_signs_and_in_scripts_without_blanks():
    always = Augmentation(
        dropout=0, swap=0, replace=1, synonyms={"good": ["fine"], "手机": ["电话"], "手": ["掌"]}
    )
    assert (
        always.text('It is good, really "Good".', random.Random(0)) == 'It is fine, really "Fine".'
    )
    assert always.text("我的手机坏了。手", random.Random(0)) == "我的电话坏了。掌"
    assert always.text("goods ... !", random.Random(0)) == "goods ... !"


def test_synonyms_are_read(tmp_path):
    (tmp_path / "s.txt").write_text("kettle, pot, boiler\nquick\tfast\n")
    assert read_synonyms(str(tmp_path / "s.txt"))["pot"] == ["kettle", "boiler"]
    (tmp_path / "s.txt").write_text("kettle, pot\nalone\n")
    with pytest.raises(AdaptkitError, match=r"s\.txt:2: expected two words"):
        read_synonyms(str(tmp_path / "s.txt"))
    with pytest.raises(AdaptkitError, match="there is no synonym file"):
        read_synonyms(str(tmp_path / "t.txt"))


@given(
    st.lists(st.sampled_from(["one", "two", "drei", "北", "!"]), min_size=1, max_size=12),
    st.integers(0, 99),
)
def test_swapped_words_stay_words(words, seed):
    changed = Augmentation(swap=0.5, dropout=0.0).text(" ".join(words), random.Random(seed))
    assert sorted(changed.split()) == sorted(words)


def test_texts_that_must_stay_are_not_augmented(tmp_path):
    talks = [
        [{"role": "user", "content": f"Hm {i}?"}, {"role": "assistant", "content": "No."}]
        for i in range(20)
    ]
    (tmp_path / "talks.jsonl").write_text(
        "\n".join(json.dumps({"messages": talk}) for talk in talks)
    )
    with pytest.raises(AdaptkitError, match="chat needs its texts as they are"):
        chat.main(
            [
                "--train_file",
                str(tmp_path / "talks.jsonl"),
                "--augment_copies",
                "1",
                "--model_name_or_path",
                "untrained",
                "--output_dir",
                str(tmp_path / "o"),
            ]
        )
