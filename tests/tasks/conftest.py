"""Tokenizers and small models that the tests of tasks share."""

import pytest

from adaptkit import load_tokenizer
from adaptkit.data.corpus import load_corpus
from adaptkit.models.untrained.scratch import make_model
from tests.helpers.rows import sixty_rows, sixty_texts
from tests.helpers.small import small

__all__ = ["sixty_rows", "sixty_texts", "small"]


@pytest.fixture(scope="session")
def tokenizer():
    return load_tokenizer("all-MiniLM-L6-v2")


@pytest.fixture(scope="session")
def texts():
    return [row[key] for row in load_corpus("train") for key in ("text", "reply")]


@pytest.fixture(scope="session")
def llama(texts, tmp_path_factory):
    return make_model("llama", texts, tmp_path_factory.mktemp("llama"), vocab_size=600)[0]


@pytest.fixture(scope="session")
def t5(texts, tmp_path_factory):
    return make_model("t5", texts, tmp_path_factory.mktemp("t5"), vocab_size=600)[0]
