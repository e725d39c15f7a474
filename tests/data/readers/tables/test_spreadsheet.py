"""Workbooks: cells as Excel shows them, and what openpyxl says of broken ones."""

import datetime
import io
import sys

import openpyxl
import pytest

from adaptkit import AdaptkitError
from adaptkit.data.readers.read import read
from tests.data.layouts.layout import workbook
from tests.helpers.files import refused, write


def test_cells_are_texts(tmp_path):
    day = datetime.date(2026, 2, 3)
    content = workbook(
        [("text", "label", "day", "on", None), ("a", 2.0, day, True, None), (), ("b", 0.5, None, 1)]
    )
    table = read(write(tmp_path / "a.xlsx", content))
    assert table.rows == [
        {"text": "a", "label": "2", "day": "2026-02-03T00:00:00", "on": "TRUE"},
        {"text": "b", "label": "0.5", "day": "", "on": "1"},
    ]
    assert table.where(1).endswith("a.xlsx:4")


def test_one_cell_far_away_costs_no_memory(tmp_path):
    book = openpyxl.Workbook()
    book.active["A1"], book.active["B1"], book.active["XFD99999"] = "text", "label", "a"
    packed = io.BytesIO()
    book.save(packed)
    path = write(tmp_path / "a.xlsx", packed.getvalue())
    refused(path, r"a\.xlsx:99999: 16384 fields where the header has 2 \(text, label\)")


def test_without_openpyxl_the_message_names_it(tmp_path, monkeypatch):
    path = write(tmp_path / "a.xlsx", workbook([("text", "label"), ("a", "b")]))
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(AdaptkitError, match=r'pip install "adaptkit\[files\]".*save the sheet as'):
        read(path)


def test_a_broken_workbook_is_our_error(tmp_path):
    content = workbook([("text", "label"), ("a", "b")])
    refused(write(tmp_path / "a.xlsx", content[:-50]), "damaged|not a whole workbook")
    broken = content.replace(b"xl/workbook.xml", b"xl/workbooc.xml")
    refused(write(tmp_path / "b.xlsx", broken), "not a whole workbook|archive")
