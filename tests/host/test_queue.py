"""Submitted rows: batches, a full queue, closing."""

import asyncio
import threading
import time

import pytest

from adaptkit import AdaptkitError, Host
from adaptkit.host.batcher import HostBusyError
from tests.host.store import LABELS, TEXTS, quiet


def test_submitted_rows_are_answered_in_batches_and_a_bad_one_spoils_no_other(root):
    host = Host.from_store(root / "store", slots=3, max_wait=0.05)
    direct = host(TEXTS[:24], [f"a{i % 6}" for i in range(24)])
    batches = host.stats()["batches"]

    async def all_of_them():
        rows = [host.submit(text, f"a{i % 6}") for i, text in enumerate(TEXTS[:24])]
        bad = [
            host.submit("", "a0"),
            host.submit("hello", "nobody"),
            host.submit({"text": "x", "odd": 1}, "a1"),
        ]
        return await asyncio.gather(*rows, host.submit(TEXTS[0]), *bad, return_exceptions=True)

    *answers, base, empty, nobody, odd = asyncio.run(all_of_them())
    for one, other in zip(answers, direct, strict=True):
        assert one.label == other.label
        assert one.score == pytest.approx(other.score, abs=1e-5)
    assert base.states.shape[1] == 32
    for problem in (empty, nobody, odd):
        assert isinstance(problem, AdaptkitError)
    assert host.stats()["batches"] - batches < 24
    assert quiet(host)
    host.close()
    with pytest.raises(AdaptkitError, match="the host is closed"):
        asyncio.run(host.submit(TEXTS[0], "a0"))
    assert host(TEXTS[:1], "a0")  # direct calls go on


def test_a_full_queue_refuses_and_a_flood_of_one_adapter_does_not_hold_up_others(host, root):
    room = host._queue
    room.batcher.max_queue, room.batcher.max_rows, room.batcher.max_wait = 30, 6, 0.0
    order: list[str] = []
    held = threading.Event()
    answer = room._answer
    room._answer = lambda ready: (
        held.wait(10),
        order.extend(row.name for row in ready),
        answer(ready),
    )
    futures = [room.put(TEXTS[0], "a0")]
    time.sleep(0.05)  # that one is a batch by itself, and waits
    futures += [room.put(TEXTS[i % 8], "a0") for i in range(20)]
    futures += [room.put(TEXTS[i], name) for i in range(2) for name in ("a1", "a2")]
    futures += [room.put(TEXTS[0], None) for _ in range(6)]
    with pytest.raises(HostBusyError, match="30 rows are waiting already"):
        room.put(TEXTS[0], "a0")
    cancelled = futures.pop()
    assert cancelled.cancel()
    held.set()
    for future in futures:
        assert future.result(timeout=20) is not None
    assert order[1:7].count("a1") >= 1
    assert order[1:7].count("a2") >= 1
    assert order.index("a1") < 7
    assert quiet(host)


def test_closing_gives_waiting_rows_an_error_and_frees_their_adapters(host):
    room = host._queue
    held = threading.Event()
    answer = room._answer
    room._answer = lambda ready: (held.wait(10), answer(ready))
    first_one = room.put(TEXTS[0], "a0")
    time.sleep(0.05)
    second = room.put(TEXTS[1], "a1")
    closing = threading.Thread(target=host.close)
    closing.start()
    time.sleep(0.05)
    held.set()
    closing.join(timeout=10)
    assert first_one.result(timeout=5).label in LABELS
    with pytest.raises(AdaptkitError, match="the host was closed"):
        second.result(timeout=5)
    assert quiet(host)


def test_closing_settles_rows_that_wait_for_a_slot(root):
    for _ in range(6):
        host = Host.from_store(root / "store", slots=1)
        held = [
            host._manager.admit(name, wait=False) for name in ("a0", "a1")
        ]  # the slot, and the one beside it
        future = host._queue.put(TEXTS[0], "a2")
        time.sleep(0.02)
        host.close()
        with pytest.raises(AdaptkitError, match="the host was closed"):
            future.result(timeout=5)
        host.slots.release(held)
        assert quiet(host)


def test_cancelled_rows_make_room_in_the_queue(root):
    host = Host(str(root / "base"), slots=1, max_queue=3, max_wait=0.5)
    for future in [host._queue.put(TEXTS[0], None) for _ in range(3)]:
        assert future.cancel()
    assert host._queue.put(TEXTS[0], None).result(timeout=10).states.shape[1] == 32
    assert quiet(host)
