"""A draw of random input for each reader; `tests.trust.fuzz` goes on for as long as it is told."""

import pytest

from tests.trust.fuzz import TARGETS, run


@pytest.mark.parametrize("name", TARGETS)
def test_random_input_is_read_or_refused(name):
    run(name, examples=60, number=0)
