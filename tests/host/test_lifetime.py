"""A host that is forked, and one that nobody has any more."""

import asyncio
import gc
import os
import signal
import threading
import time
import weakref

import pytest
import torch

from adaptkit import AdaptkitError, Host
from tests.host.store import TEXTS


def in_a_fork(action) -> str:
    """What an action in a forked child says, or `it hangs`."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(10)
        try:
            said = repr(action())
        except BaseException as problem:
            said = f"{type(problem).__name__}: {problem}"
        os.write(writing, said.encode()[:2000])
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as stream:
        said = stream.read().decode()
    os.waitpid(child, 0)
    return said or "it hangs"


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_is_told_instead_of_waiting_for_ever(host):
    """A fork has none of the threads that submit and torch wait for."""
    asyncio.run(host.submit(TEXTS[0], "a0"))
    refusal = f"AdaptkitError: this host was made in process {os.getpid()}, and this is a fork"
    assert in_a_fork(lambda: asyncio.run(host.submit(TEXTS[0], "a0"))).startswith(refusal)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        assert in_a_fork(lambda: host(TEXTS[:1], "a0")).startswith(refusal)
        torch.set_num_threads(1)
        assert in_a_fork(lambda: host(TEXTS[:1], "a0")[0].label) == repr(
            host(TEXTS[0], "a0")[0].label
        )
    finally:
        torch.set_num_threads(threads)


def test_a_dropped_host_leaves_neither_its_base_nor_a_thread(root):
    before = set(threading.enumerate())
    host = Host.from_store(root / "store", slots=2)
    asyncio.run(host.submit(TEXTS[0], "a0"))
    (thread,) = (one for one in set(threading.enumerate()) - before if one.name == "adaptkit-host")
    network, rows = weakref.ref(host.backbone.network), weakref.ref(host.slots.rows)
    del host
    for _ in range(100):
        gc.collect()
        if network() is None and not thread.is_alive():
            break
        time.sleep(0.02)
    assert network() is None
    assert rows() is None
    assert not thread.is_alive()


def test_rows_of_a_dropped_host_get_an_error(root):
    host = Host.from_store(root / "store", slots=2, max_wait=30)
    future = host._queue.put(TEXTS[0], "a0")
    with pytest.raises(TimeoutError):
        future.result(0.05)
    host._queue.batcher._waiting.abandon()
    with pytest.raises(AdaptkitError, match="the host is gone"):
        future.result(5)
