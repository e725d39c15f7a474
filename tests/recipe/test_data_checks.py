"""Texts that stand in two splits, or twice."""

from adaptkit.data.splits import Splits
from adaptkit.data.tables import Table
from adaptkit.recipe.data_checks import check_duplicates
from adaptkit.tasks.classify import Classify


def test_texts_that_differ_in_blanks_are_one_text():
    rows = [
        {"text": text, "label": "ab"[i % 2]}
        for i in range(40)
        for text in (f"text {i}", f" Text  {i}")
    ]
    splits, task = Classify().prepare(Splits(Table(rows, "rows")), seed=1)
    train, validation = (
        {" ".join(row["text"].lower().split()) for row in part.rows} for _, part in splits.items()
    )
    assert not train & validation
    assert any(
        "4 of them repeat another" in str(finding) for finding in check_duplicates(task, splits)
    )
