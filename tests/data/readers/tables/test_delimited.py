"""Tables in text: headers that are there or not, other delimiters, long fields."""

import pandas
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


def test_nameless_columns_are_numbered_unless_they_are_empty(tmp_path):
    path = write(tmp_path / "a.csv", ",text,,label,\n1,a,x,good,\n2,b,y,bad,\n")
    table = read(path, Reading(wanted=TEXT_LABEL))
    assert table.rows[0] == {"column 1": "1", "text": "a", "column 3": "x", "label": "good"}
    named = Reading(column_names=("n", "text", "more", "label", "empty"))
    path = write(tmp_path / "b.csv", "1,a,x,good,\n2,b,y,bad,\n")
    assert read(path, named).rows[1] == dict(
        zip(named.column_names, ("2", "b", "y", "bad", ""), strict=True)
    )


def test_a_quote_that_is_closed_by_that_of_another_row_is_refused_by_line(tmp_path):
    body = 'text,label\nfine,pos\n"I love it,pos\nbad one,neg\n"so so,pos\ngood,pos\n'
    refused(write(tmp_path / "a.csv", body), r"a\.csv:3: .*is a quote not closed\?")
    last = 'text,label\nfine,pos\n"I love it,pos\nbad one,neg\n'
    refused(write(tmp_path / "b.csv", last), r"b\.csv:3: .*is a quote not closed\?")
    kept = 'text,label\n"two\nlines, ""quoted""",pos\n"Good" he said,neg\n'
    table = read(write(tmp_path / "c.csv", kept), Reading())
    assert [row["text"] for row in table.rows] == ['two\nlines, "quoted"', "Good he said"]


def test_quotes_with_a_backslash_in_front_are_quotes(tmp_path):
    body = 'text,label\n"a \\"b\\", c",x\n"C:\\new",y\n'
    table = read(write(tmp_path / "a.csv", body), Reading())
    assert [row["text"] for row in table.rows] == ['a "b", c', "C:\\new"]
    assert "a backslash in front" in " ".join(table.notes)
    plain = 'text,label\n"ends in \\",x\nc,y\n'
    table = read(write(tmp_path / "b.csv", plain), Reading())
    assert table.rows[0]["text"] == "ends in \\"
    assert not table.notes


@pytest.mark.parametrize(
    "body, texts",
    [
        ('"He said ""hi"""\tpos\nplain\tneg\n', ['He said "hi"', "plain"]),
        ('"line one\nline two"\tpos\nplain\tneg\n', ["line one\nline two", "plain"]),
        ('"a\tb"\tpos\nplain\tneg\n', ["a\tb", "plain"]),
        ('"hm" he said\tpos\nplain\tneg\n', ['"hm" he said', "plain"]),
        ('"hm"\tpos\nplain\tneg\n', ['"hm"', "plain"]),
        ('"He said ""hi"""\tpos\n"hm" he said\tneg\n', ['"He said ""hi"""', '"hm" he said']),
        ('6" nails\tpos\n"so\tneg\n', ['6" nails', '"so']),
    ],
)
def test_quotes_in_a_tsv_are_syntax_only_where_a_program_wrote_them(tmp_path, body, texts):
    table = read(write(tmp_path / "a.tsv", f"text\tlabel\n{body}"), Reading())
    assert [row["text"] for row in table.rows] == texts
    assert all(row["label"] in ("pos", "neg") for row in table.rows)


def test_a_tsv_with_quotes_around_all_fields(tmp_path):
    body = '"text"\t"label"\n"fine"\t"pos"\n"so so"\t"neg"\n'
    table = read(write(tmp_path / "a.tsv", body), Reading())
    assert table.rows == [{"text": "fine", "label": "pos"}, {"text": "so so", "label": "neg"}]


def test_what_pandas_writes_comes_back(tmp_path):
    texts = ['He said "hi"', "plain", "two\nlines", "a\ttab", "C:\\x", '"']
    frame = pandas.DataFrame({"text": texts, "label": list("ababab")})
    for sep, name in (("\t", "a.tsv"), (",", "a.csv")):
        frame.to_csv(tmp_path / name, sep=sep, index=False)
        assert [row["text"] for row in read(tmp_path / name, Reading()).rows] == texts


def test_empty_lines_between_rows_are_counted(tmp_path):
    body = 'text,label\n"two\nlines",x\n\n\nb,y\n\n'
    table = read(write(tmp_path / "a.csv", body), Reading())
    assert [row["label"] for row in table.rows] == ["x", "y"]
    assert table.lines == [2, 6]
    assert table.blank == [4, 5]
    assert "a.csv: empty lines are no rows: 2, the first is 4" in table.notes
