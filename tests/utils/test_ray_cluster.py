"""Which cluster is joined, and that a dead one is refused before Ray waits for it."""

import socket

import pytest

from adaptkit import AdaptkitError
from adaptkit.utils.ray_cluster import _check_reached, join_cluster

ray = pytest.importorskip("ray", reason="ray is not installed")


def _closed_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


DEAD = ("127.0.0.1:{}", "[::1]:{}", "ray://127.0.0.1:{}", "auto", "somewhere")


@pytest.mark.parametrize("named", DEAD)
def test_a_dead_cluster_is_refused_at_once(monkeypatch, tmp_path, named):
    port = _closed_port()
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray/ray_current_cluster").write_text(f"127.0.0.1:{port}")
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.setenv("RAY_ADDRESS", named.format(port))
    with pytest.raises(AdaptkitError, match="no cluster can be reached at"):
        join_cluster()
    assert not ray.is_initialized()


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_an_address_that_answers_is_tried(address):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        listening = socket.create_server((address, 0), family=family)
    except OSError:
        pytest.skip(f"this machine has no {address}")
    with listening:
        _check_reached(f"[{address}]:{listening.getsockname()[1]}")
