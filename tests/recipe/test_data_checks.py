"""Texts that stand in two splits, or twice, and texts that the tokenizer does not know."""

import pytest

from adaptkit import load_tokenizer
from adaptkit.data.splits import Splits
from adaptkit.data.tables import Table
from adaptkit.recipe.data_checks import check_duplicates, check_one_text, check_unknown
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


@pytest.mark.parametrize("repeats, share", [(40, "20 of 22"), (9, None)])
def test_one_text_that_fills_the_scored_rows_is_doubted(repeats, share):
    rows = [{"text": f"a {i}", "label": "ab"[i % 2]} for i in range(40)]
    same = [{"text": " Dear  customer", "label": "ab"[i % 2]} for i in range(repeats // 2)]
    validation = Table([*same, *(rows[:2] if share else rows)], "rows")
    found = check_one_text(Classify(), Splits(Table(rows, "rows"), validation))
    assert [finding.text for finding in found] == (
        [
            f"validation: {share} rows are one text, 'dear customer': their score says little. "
            "Give other rows with --validation_file, or leave out those that repeat"
        ]
        if share
        else []
    )


def test_texts_in_a_language_that_the_tokenizer_does_not_know_are_doubted():
    tokenizer = load_tokenizer("all-MiniLM-L6-v2")
    texts = ("我昨天买的咖啡壶今天早上就坏了", "It broke this morning", "Где мой заказ?")
    found = []
    for text in texts:
        task = Classify()
        table = task.read(Table([{"text": text}] * 3, "rows"), labelled=False)
        found += check_unknown(
            "train", task.encode(table, tokenizer, 32, labelled=False), tokenizer
        )
    assert [finding.text.partition(":")[2] for finding in found] == [
        " 67% of the tokens are unknown to the tokenizer ([UNK]): the model cannot read these "
        "texts. Give a base of their language with --model_name_or_path"
    ]
