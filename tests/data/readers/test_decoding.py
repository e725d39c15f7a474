"""Encodings and ends of lines."""

from adaptkit import Reading, read_table
from adaptkit.data.readers.read import read
from tests.helpers.files import refused, write


def test_only_line_feeds_end_a_line(tmp_path):
    body = "text\tlabel\nodd\u2028one\x85two\x0bthree\tyes\nplain\tno\r\n"
    assert [row["label"] for row in read_table(write(tmp_path / "a.tsv", body)).rows] == [
        "yes",
        "no",
    ]
    lines = read(write(tmp_path / "a.txt", "one\u2028still one\ntwo\r\n"), Reading(format="lines"))
    assert [row["text"] for row in lines.rows] == ["one\u2028still one", "two"]


def test_an_encoding_is_named_and_a_byte_that_does_not_fit_is_placed(tmp_path):
    path = write(tmp_path / "a.txt", b"1 fine\n0 caf\xe9 noir\n1 yes\n0 no\n1 so\n")
    refused(
        path, r"a\.txt:2: byte 0xe9 at column 6 is not UTF-8; .*--encoding cp1252: .0 café noir."
    )
    assert read(path, Reading(encoding="latin-1")).rows[1] == {"label": "0", "text": "café noir"}
    refused(path, "--encoding klingon", encoding="klingon")
