"""A share of the laws over every architecture: one method on each, in turn.

`python -m tests.laws.architectures` runs all methods on all and prints the list.
"""

import pytest

from tests.helpers.architectures import KINDS
from tests.laws.architectures import METHODS, Outcome, describe, examine_all

SHARES = 15
PASSED_BY = 250  # architectures; those that transformers cannot build or feed small are not counted
FOUND: dict[str, Outcome] = {}


@pytest.mark.slow
@pytest.mark.parametrize("share", range(SHARES))
def test_an_adapter_is_trained_saved_and_loaded_in_a_new_process(share):
    chosen = {
        kind: (METHODS[number // SHARES % len(METHODS)],)
        for number, kind in enumerate(KINDS)
        if number % SHARES == share
    }
    found = examine_all(chosen)
    FOUND.update({one.kind: one for one in found})
    failed = [describe(one) for one in found if one.status == "failed"]
    assert not failed, "\n".join(failed)


def test_the_number_of_architectures():
    if len(FOUND) < len(KINDS):
        pytest.skip("counts after all shares")
    passed = sum(one.status == "passed" for one in FOUND.values())
    print(f"{passed} architectures passed")
    assert passed >= PASSED_BY
