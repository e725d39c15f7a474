"""Tables in text: headers that are there or not, other delimiters, long fields."""

import pytest

from adaptkit import Reading
from adaptkit.data.readers.read import read
from tests.helpers.files import TEXT_LABEL, refused, write


def test_a_tsv_without_a_header_is_seen_and_its_columns_are_named_or_guessed(tmp_path):
    body = 'a film, they say\tgood\nrain\tbad\n"hm" he said\tgood\n'
    table = read(write(tmp_path / "a.tsv", body), Reading(wanted=TEXT_LABEL))
    assert table.rows[2] == {"text": '"hm" he said', "label": "good"}
    assert "no header line" in table.notes[0]
    named = read(tmp_path / "a.tsv", Reading(column_names=("x", "y")))
    assert named.rows[0] == {"x": "a film, they say", "y": "good"}
    swapped = read(
        write(tmp_path / "b.tsv", "1\tone thing\n0\tanother\n1\ta third\n"),
        Reading(wanted=TEXT_LABEL),
    )
    assert swapped.rows[0] == {"text": "one thing", "label": "1"}
    refused(
        write(tmp_path / "c.tsv", "1\tx\t2.5\n2\ty\t3.5\n"),
        r"c\.tsv:1: the first line looks like a row.*--column_names",
        wanted=TEXT_LABEL,
    )


def test_names_given_for_the_columns_skip_a_header_that_says_the_same(tmp_path):
    names = ("one", "score")
    with_header = read(
        write(tmp_path / "a.tsv", "one\tscore\nx\t5.0\n"), Reading(column_names=names)
    )
    without = read(write(tmp_path / "b.tsv", "x\t5.0\n"), Reading(column_names=names))
    assert with_header.rows == without.rows == [{"one": "x", "score": "5.0"}]
    assert with_header.where(0).endswith("a.tsv:2")
    refused(tmp_path / "b.tsv", "2 fields|--column_names gives 3", column_names=("a", "b", "c"))


def test_a_long_text_is_no_mistake(tmp_path):
    (tmp_path / "long.csv").write_text("text,label\n" + "word " * 40_000 + ",a\n")
    assert len(read(tmp_path / "long.csv", Reading()).rows[0]["text"]) == 200_000


@pytest.mark.parametrize("mark", [";", "\t", "|"])
def test_a_csv_may_part_its_fields_by_other_marks(tmp_path, mark):
    lines = [
        mark.join(fields)
        for fields in (("text", "label"), (f'"a, b{mark} ""c"""', "x"), ("d, e", "y"))
    ]
    (tmp_path / "a.csv").write_text("\ufeff" + "\r\n".join(lines), "utf-8")
    table = read(tmp_path / "a.csv", Reading(wanted=("text", "label")))
    assert table.rows == [{"text": f'a, b{mark} "c"', "label": "x"}, {"text": "d, e", "label": "y"}]
    assert table.notes == [f"a.csv parts its fields by {mark!r}"]


def test_a_comma_in_the_first_line_parts(tmp_path):
    (tmp_path / "a.csv").write_text("text,label\na; b,x\n")
    table = read(tmp_path / "a.csv", Reading(wanted=("text", "label")))
    assert (table.rows, table.notes) == ([{"text": "a; b", "label": "x"}], [])


def test_a_pair_of_sentences_is_no_header(tmp_path):
    (tmp_path / "a.tsv").write_text(
        "The lamp is on.\tDie Lampe ist an.\nIt is off.\tSie ist aus.\n"
    )
    table = read(tmp_path / "a.tsv", Reading(wanted=("source", "target")))
    assert table.rows[0] == {"source": "The lamp is on.", "target": "Die Lampe ist an."}
