"""What is printed and written obeys nobody: no terminal, no spreadsheet, no megabyte."""

import csv
import io
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptkit import AdaptkitError, TaskCard
from adaptkit.adapters.model_card import write_model_card
from adaptkit.commands import show
from adaptkit.data.tables import Table
from adaptkit.errors import LONGEST, escaped, nearest, quoted, shorten, unknown
from adaptkit.recipe.report import cell_text, text_cell, write_details, write_predictions
from adaptkit.tasks.classify import Classify
from adaptkit.utils.processes import log_main
from adaptkit.utils.terminal import format_table, guarded, say

EVIL = "\x1b[2J\x1b]0;title\x07\x9b31mred\r\u202egnp\u2028\x00"
HARMLESS = "\\u001b[2J\\u001b]0;title\\u0007\\u009b31mred\\u000d\\u202egnp\\u2028\\u0000"
LONG = "x" * 10**6


def obeyed(text: str) -> set[str]:
    """The characters in an output that a terminal would obey."""
    return {c for c in text if (ord(c) < 32 or 127 <= ord(c) < 160 or c in "\u202e\u2028")} - {"\n"}


def test_a_terminal_shows_what_it_would_obey(capsys):
    for printed in (log_main, say, lambda text: print(format_table([("label",), (text,)]))):
        printed(f"label {EVIL}")
    out = capsys.readouterr().out
    assert not obeyed(out)
    assert out.count(HARMLESS) == 2
    with pytest.raises(SystemExit):
        guarded(lambda: (_ for _ in ()).throw(AdaptkitError(f"label {EVIL}")))
    assert capsys.readouterr().err == f"error: label {HARMLESS}\n"


@pytest.mark.parametrize(
    "text",
    ["caf\u00e9 日本\tx\n", "نمی\u200cخواهم", "\U0001f469\u200d\U0001f692", "it's 100 % \\n"],
)
def test_texts_of_all_scripts_are_printed_as_they_are(text):
    assert escaped(text) == text


@settings(deadline=None)
@given(st.text(st.characters(codec=None), max_size=20))
def test_escaped_json_is_the_same_json(text):
    line = escaped(json.dumps({"text": text}, ensure_ascii=False))
    assert json.loads(line) == {"text": text}
    assert not obeyed(line)
    assert line.encode("utf-8")
    assert escaped(escaped(text)) == escaped(text)


@pytest.mark.parametrize(
    "error",
    [
        AdaptkitError(LONG),
        AdaptkitError(f"it is {EVIL * 10**4}."),
        unknown("method", LONG, ["lora", LONG]),
        unknown("label", "x", [str(i) * 99 for i in range(10**4)]),
        Table([{}], "rows").bad(0, LONG),
    ],
)
def test_a_message_is_short_and_keeps_its_ends(error):
    assert len(str(error)) <= LONGEST + 20
    assert not obeyed(str(error))
    assert str(AdaptkitError(str(error))) == str(error)


def test_values_in_messages_are_short_and_on_one_line():
    nested: list = []
    for _ in range(5000):
        nested = [nested]
    values = (LONG, EVIL, [LONG], {"a": LONG}, nested, 10**5000, b"x" * 10**6)
    for value in values:
        assert len(quoted(value)) <= 80
        assert not obeyed(quoted(value)) | {"\n"} & {*quoted(value)}
    assert quoted("short") == "'short'"
    assert quoted("a" * 99, 11) == "'aaa...aaa'"
    assert shorten(f"a\nb{EVIL}")[:5] == "a\\nb\\"
    assert nearest(LONG, ["lora", LONG]) is None


# Tables that a spreadsheet opens


@pytest.mark.parametrize(
    "text",
    ["=1+1", "+1+1", "-2+3", "@SUM(A1)", "=cmd|' /C calc'!A0", '"=1+1"', "'=1", "\t=1", "\r=1",
     "\uff1d1+1", "- a list", "+", "''=x", "-", '""=HYPERLINK("x")'],
)  # fmt: skip
def test_a_formula_is_a_text_in_a_spreadsheet_and_comes_back(text):
    cell = text_cell(text)
    assert cell.startswith("'")
    assert cell_text(cell) == text.strip()


@pytest.mark.parametrize(
    "text", ["-1", "+1", "-0.5", "1e-3", "-.5", "it's", "'quoted'", '"quoted"', "a=b", "", "'"]
)
def test_numbers_and_other_texts_stay_as_they_are(text):
    assert text_cell(text) == text == cell_text(text)


@settings(deadline=None)
@given(st.text("=+-@'\"1 .ex\uff1d", max_size=6))
def test_every_cell_comes_back(text):
    assert cell_text(text_cell(text)) == " ".join(text.split())


def test_reports_hold_no_formulas_and_nothing_that_a_terminal_obeys(tmp_path):
    labels = ["=1+1", "-1", f"@{EVIL}"]
    rows = Table([{"text": f"+{label}{EVIL}", "label": label} for label in labels], "x")
    answers = [{"label": label, "score": -0.5} for label in labels]
    write_predictions(tmp_path / "p.tsv", Classify(labels=labels), rows, answers)
    write_details(tmp_path / "d.tsv", [{"label": label, "f1": -0.5} for label in labels])
    for name in ("p.tsv", "d.tsv"):
        content = (tmp_path / name).read_text()
        assert not obeyed(content) - {"\t"}
        lines = list(csv.reader(io.StringIO(content), delimiter="\t"))[1:]
        assert [line[-1] for line in lines] == ["-0.5"] * 3
        assert [cell_text(line[-2 if name == "d.tsv" else 1]) for line in lines][:2] == labels[:2]
        assert not any(cell[:1] in "=+@" for line in lines for cell in line[:-1] if cell)


def test_a_model_card_lists_labels_as_code(tmp_path):
    labels = ["`</code><script>", "a\n# b", EVIL, LONG, *map(str, range(200))]
    card = TaskCard(task="classify", labels=labels, base="b", method="lora", max_length=9)
    settings = {"load_best_model_at_end": False}
    sizes = {"train": 3}
    warnings = [f"always {EVIL}"]
    folder = tmp_path / "out"
    folder.mkdir()
    write_model_card(
        folder, Classify(labels=labels), card, {"adapter_bytes": 1}, settings, sizes, warnings
    )
    text = (folder / "README.md").read_text()
    assert "`'</code><script>`, `a\\n# b`, " in text
    assert "and 104 more." in text
    assert not obeyed(text)
    assert len(text) < 6000


def test_what_a_card_says_is_shown_and_not_obeyed(tmp_path, capsys):
    (tmp_path / "task.json").write_text(json.dumps({"task": EVIL, "labels": [EVIL], "base": "b"}))
    (tmp_path / "adapter_config.json").write_text("{}")
    show.run(type("Given", (), {"folder": str(tmp_path)}))
    out = capsys.readouterr().out
    assert HARMLESS in out
    assert not obeyed(out)
