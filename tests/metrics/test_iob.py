"""Every scheme of tags says the same."""

import pytest

from adaptkit.metrics.iob import chunks

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")


def test_every_scheme_says_the_same():
    wanted = [(0, 1, "x"), (2, 2, "x"), (4, 6, "y")]
    for tags in (
        "B-x I-x B-x O B-y I-y I-y",  # BIO
        "I-x I-x B-x O I-y I-y I-y",  # IOB1
        "B-x E-x S-x O B-y I-y E-y",  # BIOES
        "B-x E-x S-x O B-y M-y E-y",  # BMES
        "B-x L-x U-x O B-y I-y L-y",  # BILOU
    ):
        assert chunks(tags.split()) == wanted
