"""Scores are numbers, and come back in their unit."""

import numpy as np
import pytest

from adaptkit import AdaptkitError, read_table
from adaptkit.data.tables import Table
from adaptkit.tasks.score import Score
from tests.helpers.files import write


def test_scores_come_back_in_their_unit_and_range(tokenizer):
    table = Score().read(
        Table([{"text": t, "score": s} for t, s in (("a", 1), ("b", 2), ("c", 6))], "x")
    )
    task = Score().fit_labels(table)
    encoded = task.encode(table, tokenizer, 8)
    answers = task.decode(np.asarray(encoded["labels"])[:, None], encoded, table)
    assert [answer["score"] for answer in answers] == pytest.approx([1, 2, 6])
    assert task.decode(np.asarray([[99.0], [-99.0], [0.0]]), encoded, table)[0]["score"] == 6
    assert task.baseline(table, table)["mean_baseline_mae"] == pytest.approx(2.0)


def test_scores_are_numbers(tmp_path):
    table = read_table(write(tmp_path / "a.csv", "text,score\na,1\nb,high\n"))
    with pytest.raises(
        AdaptkitError, match=r"a\.csv:3: column 'score' holds 'high', which is not a number"
    ):
        Score().read(table)
