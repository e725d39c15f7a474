"""Adapters on disk that the tests of adapters read and damage."""

from pathlib import Path

import pytest

from adaptkit import TaskCard, adapt, save_adapter
from tests.adapters.classifiers import HEAD, classifier
from tests.helpers.minilm import base
from tests.helpers.rows import warm_rows_in_fp32
from tests.helpers.small import small
from tests.tiny import randomize

__all__ = ["base", "small", "warm_rows_in_fp32"]


@pytest.fixture
def saved(tmp_path) -> Path:
    model = adapt(classifier(), "lora[r=4,alpha=3]+bottleneck[reduction=4]", head=HEAD)
    randomize(model)
    save_adapter(model, tmp_path / "one", card=TaskCard(task="classify", labels=["a", "b", "c"]))
    return tmp_path / "one"
