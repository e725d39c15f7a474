"""A small network that knows words apart, and texts of three kinds."""

import pytest

from adaptkit.models.untrained.scratch import make_model

KINDS = {
    "where": "where is my parcel {}",
    "money": "refund the money for order {}",
    "broken": "this lamp {} arrived broken",
}
NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
TEXTS = [kind.format(number) for number in NUMBERS for kind in KINDS.values()]


def label_of(text):
    """The kind of a text."""
    return next(name for name, kind in KINDS.items() if kind[:3] == text[:3])


@pytest.fixture(scope="session")
def small(tmp_path_factory):
    """The folder of the network."""
    folder = tmp_path_factory.mktemp("labelling") / "bert"
    make_model("bert", TEXTS, folder, vocab_size=200, hidden_size=64, intermediate_size=64)
    return str(folder)
