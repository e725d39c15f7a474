"""New files are read as the training file was, as far as they look like it."""

import dataclasses

import pytest

from adaptkit import AdaptkitError, Reading, TaskCard
from adaptkit.inference.training_file import kept_reading, read_alike
from tests.helpers.files import write

CARD = TaskCard(task="classify", labels=["bad", "good"], columns={"text": "text", "label": "label"})
WANTED = ("text", "label")
NAMES = ["id", "label", "text"]


def card(**reading):
    return dataclasses.replace(CARD, reading={"ending": ".txt"} | reading)


def alike(path, of, encoding=None, **flags):
    table = read_alike(str(path), of, Reading(wanted=WANTED, **flags), encoding)
    return table.rows, [note for note in table.notes if "as the training file" in note]


def test_a_card_keeps_what_is_not_read_by_default():
    assert kept_reading(None, Reading(), None) == {}
    assert kept_reading("a/rows.CSV", Reading(), "csv") == {"ending": ".csv"}
    assert kept_reading("rows.txt.gz", Reading(), "label_first") == {
        "ending": ".txt",
        "format": "label_first",
    }
    told = Reading("tsv", "gb18030", ("label", "text"), tag_column=3)
    assert kept_reading("rows.txt", told, "tsv") == {
        "ending": ".txt",
        "format": "tsv",
        "encoding": "gb18030",
        "column_names": ["label", "text"],
        "tag_column": 3,
    }


def test_format_encoding_and_names_come_from_the_training_file(tmp_path):
    kept = card(format="tsv", encoding="gb18030", column_names=NAMES)
    path = write(tmp_path / "new.txt", "1\tgood\t你好。\n2\tbad\t不好。\n".encode("gb18030"))
    rows, notes = alike(path, kept)
    assert rows == [
        {"id": "1", "label": "good", "text": "你好。"},
        {"id": "2", "label": "bad", "text": "不好。"},
    ]
    assert notes == [
        "new.txt is read as the training file was: --format tsv --encoding gb18030 "
        "--column_names id label text"
    ]


def test_flags_count_more_than_the_card(tmp_path):
    kept = card(format="csv", encoding="gb18030", column_names=["label", "text"])
    path = write(tmp_path / "new.txt", "text\tlabel\ncaf\xe9\tgood\n".encode("latin-1"))
    rows, notes = alike(path, kept, "latin-1", format="tsv")
    assert (rows, notes) == ([{"text": "caf\xe9", "label": "good"}], [])
    path = write(tmp_path / "other.txt", "caf\xe9\tgood\n".encode("latin-1"))
    rows, _ = alike(path, kept, "latin-1", format="tsv", column_names=("text", "label"))
    assert rows == [{"text": "caf\xe9", "label": "good"}]


def test_a_file_with_a_header_needs_no_names(tmp_path):
    kept = card(ending=".csv", column_names=["label", "text"])
    rows, notes = alike(write(tmp_path / "new.csv", "text,label\nfine,good\n"), kept)
    assert (rows, notes) == ([{"text": "fine", "label": "good"}], [])


def test_a_file_without_labels_has_the_names_of_the_rest(tmp_path):
    kept = card(ending=".csv", column_names=["label", "text"])
    table = read_alike(
        str(write(tmp_path / "new.csv", "It is fine.\nIt is not.\n")),
        kept,
        Reading(wanted=("text",), labelled=False),
        None,
    )
    assert table.rows == [{"text": "It is fine."}, {"text": "It is not."}]


@pytest.mark.parametrize(
    "content, text",
    [("好，好。\n".encode(), "好，好。"), ("好，好。\n".encode("gb18030"), "好，好。")],
)
def test_utf8_is_known_where_another_encoding_is_kept(tmp_path, content, text):
    for name in ("new.txt", "new.md"):
        rows, _ = alike(write(tmp_path / name, content), card(encoding="gb18030"), format="lines")
        assert rows == [{"text": text}]


def test_a_file_with_another_ending_is_read_as_what_it_is(tmp_path):
    kept = card(format="tsv", column_names=["label", "text"])
    rows, notes = alike(write(tmp_path / "new.jsonl", '{"text": "a", "label": "good"}\n'), kept)
    assert (rows, notes) == ([{"text": "a", "label": "good"}], [])


def test_first_words_are_labels_only_where_they_are_labels(tmp_path):
    kept = card(format="label_first")
    lines = {"good a film\nbad a lamp\n": ["a film", "a lamp"], "a film\na lamp\n": None}
    for content, texts in lines.items():
        path = write(tmp_path / "new.txt", content)
        table = read_alike(str(path), kept, Reading(wanted=("text",), labelled=False), None)
        assert [row["text"] for row in table.rows] == (texts or content.splitlines())
    rows, _ = alike(write(tmp_path / "new.txt", "goood a film\n"), kept)  # to be scored
    assert rows == [{"label": "goood", "text": "a film"}]


def test_tags_are_in_the_column_that_they_were_in(tmp_path):
    tags = TaskCard(task="tag", columns={"text": "text"}, reading={"ending": ".txt"})
    tags.reading |= {"format": "conll", "tag_column": 2}
    path = write(tmp_path / "new.txt", "Ann B-x B-y\nran O O\n\nBo B-x O\n")
    reading = Reading(wanted=("text", "tokens", "tags"))
    assert read_alike(str(path), tags, reading, None).rows[1] == {"tokens": ["Bo"], "tags": ["B-x"]}
    told = dataclasses.replace(reading, tag_column=3)
    assert read_alike(str(path), tags, told, None).rows[1] == {"tokens": ["Bo"], "tags": ["O"]}
    plain = write(tmp_path / "plain.txt", "Ann ran.\nSo did Bo, and far.\n")
    unlabelled = Reading(wanted=("text",), labelled=False)
    assert read_alike(str(plain), tags, unlabelled, None).rows[0] == {"text": "Ann ran."}


def test_what_cannot_be_read_at_all_says_why_by_default(tmp_path):
    path = write(tmp_path / "new.txt", b"caf\xe9 \xff\n")
    with pytest.raises(AdaptkitError, match="is not UTF-8"):
        alike(path, card(encoding="ascii"))
