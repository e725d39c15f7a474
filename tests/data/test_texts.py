"""Texts of rows, checked."""

import math

import pytest

from adaptkit import AdaptkitError
from adaptkit.data.tables import Table
from adaptkit.data.texts import LONGEST_TEXT, read_texts
from adaptkit.tasks.classify import Classify
from adaptkit.tasks.pretrain import Pretrain


def test_a_text_of_millions_of_characters_is_refused_where_it_would_be_one_row():
    table = Table([{"text": "fine", "label": "a"}, {"text": "x" * (LONGEST_TEXT + 1)}], "rows.csv")
    with pytest.raises(AdaptkitError, match=r"has 2,000,001 characters.*a quote left open"):
        read_texts(table, {"text": "text"})
    assert Classify.longest_text == LONGEST_TEXT
    assert len(read_texts(table, {"text": "text"}, math.inf)) == 2


def test_pretraining_reads_a_text_of_one_line_however_long():
    table = Table([{"text": "a word " * 400_000}], "text8")
    assert len(Pretrain().read(table).rows[0]["text"]) == 2_800_000
