"""Files made to be slow, or to unfold to gigabytes, cost nothing."""

import time

import pytest

from adaptkit import AdaptkitError
from adaptkit.data.readers.read import read
from tests.helpers.files import refused, write

LAUGHS = "".join(
    f'<!ENTITY l{n} "{f"&l{n - 1};" * 10 if n else "ha"}">' for n in range(10)
)  # fmt: skip


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("a.csv", ",".join(f"name{n}" for n in range(300_000)), "300,000 fields; the most are"),
        ("a.csv", "text," + ",".join(["x"] * 9_000), "the column 'x' is there twice"),
        ("a.tsv", "\t" * 200_000 + "\n", "200,001 fields; the most are 10,000"),
        ("a.txt", '1\t"' + "<e1>" * 40_000 + '</e1>"\nOther\n', "expected one <e1>"),
        ("a.jsonl", '{"a": ' * 200_000, "nested more than 50 deep|not valid JSON"),
        ("a.jsonl", '{"label": %s}' % ("9" * 200_000), "thousands of digits"),
        ("a.yaml", "a: &a [x]\nb: [*a]\n", "repeats parts by anchors"),
        ("a.yaml", "[" * 5_000, "not valid YAML|nested"),
        ("a.tmx", f"<!DOCTYPE tmx [{LAUGHS}]><tmx><body>&l9;</body></tmx>", "XML entities"),
        ("a.tmx", "<tmx><body><tu><tuv><seg>" + "<hi>" * 99_999, "not valid XML"),
    ],
)
def test_a_hostile_file_is_refused_within_a_moment(tmp_path, name, content, message):
    path = write(tmp_path / name, content)
    began = time.process_time()
    with pytest.raises(AdaptkitError, match=message) as refusal:
        read(path)
    assert time.process_time() - began < 5
    assert len(str(refusal.value)) < 900


def test_marks_of_entities_take_linear_time(tmp_path):
    text = '1\t"' + "<e1>" * 200_000 + ' <e1>a</e1> <e2>b</e2>"\nOther\n'
    began = time.process_time()
    refused(write(tmp_path / "a.txt", text), "expected one <e1>", format="semeval")
    assert time.process_time() - began < 5


def test_ten_thousand_columns_are_read(tmp_path):
    names = ["text", "label", *(f"n{n}" for n in range(9_998))]
    rows = [["warm", "good", *"1" * 9_998], ["cold", "bad", *"1" * 9_998]]
    path = write(tmp_path / "a.csv", "\n".join(",".join(row) for row in [names, *rows]))
    table = read(path)
    assert (table.rows[1]["label"], len(table.columns)) == ("bad", 10_000)
    with pytest.raises(AdaptkitError, match="it has text, label, n0.* and 9980 more") as refusal:
        table.need("verdict", "label_column")
    assert len(str(refusal.value)) < 900


def test_a_long_first_row_is_not_repeated_in_a_message(tmp_path):
    path = write(tmp_path / "a.csv", "x" * 100_000 + "," + "y" * 100_000 + ",1\n")
    with pytest.raises(AdaptkitError, match="looks like a row") as refusal:
        read(path)
    assert len(str(refusal.value)) < 900
