"""Blocks of lines: words and tags in columns, marked entities."""

from adaptkit.data.readers.read import read
from adaptkit.tasks.relate import Relate
from tests.helpers.files import refused, write


def test_columns_of_words_and_tags(tmp_path):
    body = "-DOCSTART- O O\n\nEU B-ORG 0\nsays O 0\n\n\nBern\u00a0 B-LOC 0\n\u3000 O 0\n"
    path = write(tmp_path / "a.txt", body)
    table = read(path)
    assert table.rows == [
        {"tokens": ["EU", "says"], "tags": ["B-ORG", "O"]},
        {"tokens": ["Bern\u00a0", "\u3000"], "tags": ["B-LOC", "O"]},
    ]
    assert table.where(1).endswith("a.txt:7")
    assert "column 2 of 3" in " ".join(table.notes)
    refused(
        write(tmp_path / "b.txt", "EU B-ORG 0\nsays O\n\nx O 0\n"),
        r"b\.txt:2: 2 columns where the first line has 3",
        format="conll",
    )
    refused(
        write(tmp_path / "c.txt", "EU B-ORG\nsays 0\n\nx O\n"),
        r"c\.txt:2: no column holds only tags.*'0'",
        format="conll",
    )
    refused(path, "--tag_column 9", format="conll", tag_column=9)


def test_blocks_with_marked_entities(tmp_path):
    good = (
        '1\t"The <e1>cat</e1> sat on the <e2>mat</e2>."\nEntity-Destination(e1,e2)\nComment: '
        "none\n\n"
    )
    good += '2\t"<e2>Oil</e2> from <e1>seed</e1>"\nOther\nComment:\n'
    table = read(write(tmp_path / "a.TXT", good))
    first, second = Relate().read(table).rows
    assert first["text"] == "The @ cat @ sat on the # mat #."
    assert second["text"] == "# Oil # from @ seed @"  # the marks say which is which, not the order
    assert (first["label"], table.where(1)[-7:]) == ("Entity-Destination(e1,e2)", "a.TXT:5")
    refused(write(tmp_path / "b.txt", good.replace("</e2>", "", 1)), r"b\.txt:1: expected one <e1>")
    refused(
        write(tmp_path / "c.txt", '1\t"<e1>a</e1> <e2>b</e2>"\nComment: no relation here\n'),
        r"c\.txt:1: .*the relation on the next line",
    )
