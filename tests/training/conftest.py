"""Bases and rows that the tests of training share."""

import json

import pytest

from adaptkit.data.corpus import load_corpus
from adaptkit.models.untrained.scratch import make_model
from tests.helpers.minilm import base
from tests.helpers.rows import (
    bert,
    good_and_bad,
    rows,
    sixty_rows,
    sixty_texts,
    warm_rows,
    warm_rows_in_fp32,
)
from tests.helpers.small import small

__all__ = [
    "base",
    "bert",
    "good_and_bad",
    "rows",
    "sixty_rows",
    "sixty_texts",
    "small",
    "warm_rows",
    "warm_rows_in_fp32",
]


@pytest.fixture(scope="session")
def three_layers(tmp_path_factory):
    """A BERT of three layers, and 64 rows."""
    root = tmp_path_factory.mktemp("small")
    rows = load_corpus("train")[:64]
    make_model(
        "bert", [row["text"] for row in rows], root / "bert", vocab_size=500, num_hidden_layers=3
    )
    for name, part in (("train", rows[:48]), ("dev", rows[48:])):
        lines = [json.dumps({key: row[key] for key in ("text", "sentiment")}) for row in part]
        (root / f"{name}.jsonl").write_text("\n".join(lines))
    return root
