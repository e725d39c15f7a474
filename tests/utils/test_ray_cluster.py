"""Which cluster is joined, and that a dead one is refused before Ray waits for it."""

import socket

import pytest

from adaptkit import AdaptkitError
from adaptkit.utils.ray_cluster import join_cluster

ray = pytest.importorskip("ray", reason="ray is not installed")


def _closed_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.mark.parametrize("named", ["127.0.0.1:{}", "ray://127.0.0.1:{}", "auto", "somewhere"])
def test_a_dead_cluster_is_refused_at_once(monkeypatch, tmp_path, named):
    port = _closed_port()
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray/ray_current_cluster").write_text(f"127.0.0.1:{port}")
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.setenv("RAY_ADDRESS", named.format(port))
    with pytest.raises(AdaptkitError, match="no cluster can be reached at"):
        join_cluster()
    assert not ray.is_initialized()
