import pytest

from tests.serve.stores import make_readers


@pytest.fixture(scope="session")
def readers_store(tmp_path_factory):
    return make_readers(tmp_path_factory.mktemp("readers"))
