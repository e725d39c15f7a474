"""A store and a host over it, for tests that damage them."""

from pathlib import Path

import pytest

from adaptkit import Host
from adaptkit.models.untrained.scratch import make_model
from tests.host.store import TEXTS, make_store


@pytest.fixture(scope="session")
def root(tmp_path_factory) -> Path:
    """A tiny BERT, and a store of six classifiers over it, of four methods."""
    root = tmp_path_factory.mktemp("faults")
    make_store(root)
    settings = {"hidden_size": 32, "intermediate_size": 48}
    make_model("bert", TEXTS, root / "twin", vocab_size=300, seed=9, **settings)
    return root


@pytest.fixture
def host(root) -> Host:
    host = Host(
        str(root / "base"),
        slots=4,
        slot_capacity=["lora[r=4]", "bottleneck[reduction=4]", "prefix[length=3]"],
    )
    for i in range(3):
        host.load(f"a{i}", root / f"store/a{i}")
    return host
