"""Blocks hold the whole text."""

import pytest

from adaptkit import load_tokenizer
from adaptkit.data.collate import IGNORED
from adaptkit.data.tables import Table
from adaptkit.models.untrained.scratch import make_model
from adaptkit.tasks.pretrain import Pretrain


@pytest.mark.parametrize("objective, kind", [("mlm", "bert"), ("clm", "llama")])
def test_blocks_hold_the_whole_text(texts, tmp_path, objective, kind):
    folder, _ = make_model(kind, texts, tmp_path, vocab_size=600)
    tokenizer = load_tokenizer(folder)
    task = Pretrain(objective=objective)
    table = Table([{"text": text} for text in texts[:40]], "x")
    train = task.encode(table, tokenizer, 64, train=True)
    words = [
        token
        for row in train
        for token in row["input_ids"]
        if token not in tokenizer.all_special_ids
    ]
    assert words == [
        t for ids in tokenizer(texts[:40], add_special_tokens=False)["input_ids"] for t in ids
    ]
    assert max(train["length"]) == 64
    fixed = task.encode(table, tokenizer, 64)
    assert (
        fixed["labels"] == task.encode(table, tokenizer, 64)["labels"]
    )  # hidden the same way every time
    share = sum(label != IGNORED for labels in fixed["labels"] for label in labels) / len(words)
    assert share > 0.9 if objective == "clm" else 0.1 < share < 0.2
    assert task.collator(tokenizer)([train[0], train[1]])["labels"].shape == (2, 64)
