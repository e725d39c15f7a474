"""A few kills at random moments; `python tests/trust/kills.py --kills 200` makes many."""

import pytest

from tests.processes import ROOT, run


@pytest.mark.slow
def test_a_kill_at_any_moment_loses_nothing():
    done = run(str(ROOT / "tests/trust/kills.py"), "--kills", "12")
    assert "12 kills, nothing lost" in done.stdout
