"""Formats are told apart and give the same rows; bad files are named with their line."""

import json

import datasets
import pytest

from adaptkit import AdaptkitError, Reading, read_table
from adaptkit.data.readers.detect import detect
from adaptkit.data.readers.file import File
from adaptkit.data.readers.read import read
from tests.helpers.files import write


def test_every_format_gives_the_same_rows(tmp_path):
    rows = [{"text": 'say "hi", now', "label": "a"}, {"text": "zwei\u00e4", "label": "b"}]
    files = [
        write(tmp_path / "a.csv", '\ufefftext,label\r\n"say ""hi"", now",a\r\nzwei\u00e4,b\r\n'),
        write(tmp_path / "a.tsv", 'text\tlabel\nsay "hi", now\ta\nzwei\u00e4\tb\n'),
        write(tmp_path / "a.json", json.dumps(rows)),
        write(tmp_path / "a.jsonl", "\n\n".join(map(json.dumps, rows))),
    ]
    datasets.Dataset.from_list(rows).to_parquet(tmp_path / "a.parquet")
    for row in rows:
        (tmp_path / "folder" / row["label"]).mkdir(parents=True)
        write(tmp_path / "folder" / row["label"] / "1.txt", row["text"] + "\n")
    for file in [*files, tmp_path / "a.parquet", tmp_path / "folder"]:
        assert read_table(file).rows == rows, file


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("a.jsonl", '{"text": "a"}\n{"text": \n', r"a\.jsonl:2: not valid JSON"),
        ("a.jsonl", '{"text": "a"}\n[1]\n', r"a\.jsonl:2: expected an object"),
        ("a.json", '{"text": "a"}', "expected a list of objects"),
        ("a.json", '[{"text": \n "a"', r"a\.json:2: not valid JSON"),
        (
            "a.csv",
            b"text,label\nok,a\ncaf\xe9,b\n",
            r"a\.csv:3: byte 0xe9 at column 4 is not UTF-8",
        ),
        (
            "a.csv",
            'text,label\n"two\nlines",a\nx,y,z\n',
            r"a\.csv:4: 3 fields where the header has 2",
        ),
        ("a.csv", "", "is empty"),
        ("a.csv", "text,label\n", "holds no rows"),
        ("a.parquet", b"PAR1no", "not a whole parquet file"),
        ("a.xlsx", b"", "damaged or ends early"),
    ],
)
def test_bad_files_are_named_with_their_line(tmp_path, name, content, message):
    with pytest.raises(AdaptkitError, match=message):
        read_table(write(tmp_path / name, content))


def test_a_missing_file_names_the_nearest(tmp_path):
    write(tmp_path / "reviews.csv", "text,label\n")
    with pytest.raises(AdaptkitError, match=r"Did you mean .*reviews\.csv"):
        read_table(tmp_path / "review.csv")


@pytest.mark.parametrize("name, body, format", [
    ("a.txt", "1 fine film\n0 dull film\n1 good\n0 bad\n", "label_first"),
    ("a.txt", "A tale.\nIt goes on.\nAnd on.\nAnd ends.\n", "lines"),
    ("a.txt", " = Title = \n \n = = Part = = \nThe text .\n", "lines"),
    ("a.txt", "one\ttwo\nthree\tfour\n", "tsv"),
    ("a.conll", "x O\ny B-a\n\nz O\n", "conll"),
    ("a.json", '{"data": [{"paragraphs": []}]}', "squad"),
    ("a.json", "[]", "json"),
    ("a.json", '{"text": "a"}\n{"text": "b"}\n', "jsonl"),
    ("a.json", '{\n"train": []}', "json"),
])  # fmt: skip
def test_formats_are_told_apart(tmp_path, name, body, format):
    assert detect(File(write(tmp_path / name, body)), Reading()) == format


def test_what_is_to_be_answered_is_not_searched_for_answers(tmp_path):
    asked = write(tmp_path / "a.txt", "1 fine film\n0 dull film\n1 good\n0 bad\n")
    assert read(asked, Reading(labelled=False)).rows[0] == {"text": "1 fine film"}
    source = write(tmp_path / "t.en", "one\ntwo\n")  # without t.de
    assert read(source, Reading(labelled=False, languages=("en", "de"), wanted=("source",))).rows[
        1
    ] == {"source": "two"}


def test_endings_in_capitals_are_endings(tmp_path):
    (tmp_path / "A.TSV").write_text('text\tlabel\n"x\ta\n')
    assert read_table(tmp_path / "A.TSV").rows == [{"text": '"x', "label": "a"}]
