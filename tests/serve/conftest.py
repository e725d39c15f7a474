"""Two services: over an encoder, and over a decoder."""

import pytest

from adaptkit import Host
from tests.serve.running import running
from tests.serve.stores import make_readers, make_writers


@pytest.fixture(scope="session")
def readers_store(tmp_path_factory):
    return make_readers(tmp_path_factory.mktemp("readers"))


@pytest.fixture(scope="session")
def writers_store(tmp_path_factory):
    return make_writers(tmp_path_factory.mktemp("writers"))


@pytest.fixture(scope="session")
def readers(readers_store):
    with running(Host.from_store(readers_store)) as service:
        yield service


@pytest.fixture(scope="session")
def writers(writers_store):
    with running(Host.from_store(writers_store), max_new_tokens=64) as service:
        yield service
