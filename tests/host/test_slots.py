"""Slots: two loads for the last one, and rows under way that keep their version."""

import threading
import time
from pathlib import Path

import pytest
import torch

from adaptkit import AdaptkitError, Host
from adaptkit.host.loader import ParsedAdapter
from adaptkit.host.slots import Slots
from tests.host.store import TEXTS, quiet


def test_no_slot_is_left(host, root):
    host.load("a3", root / "store/a3")
    with pytest.raises(AdaptkitError, match=r"all 4 slots are taken \(a0, a1, a2, a3\)"):
        host.load("a4", root / "store/a4")
    host.load("a3", root / "store/a4")  # one that is there is replaced all the same
    host.unload("a3")
    host.load("a4", root / "store/a4")
    assert quiet(host)


def test_rows_under_way_keep_their_version_and_unloading_waits_for_them(host, root):
    old = host.slots.admit("a0")
    before = host.slots.rows[old.slot].clone()
    host.load("a0", root / "store/a5")
    assert host.slots.loaded_adapters["a0"].version > old.version
    assert torch.equal(host.slots.rows[old.slot], before)  # nobody else got its slot
    current = host.slots.admit("a0")
    done = threading.Event()
    thread = threading.Thread(target=lambda: (host.unload("a0"), done.set()))
    thread.start()
    time.sleep(0.05)
    assert not done.is_set()
    with pytest.raises(AdaptkitError, match="unknown adapter 'a0'"):
        host(TEXTS[:1], "a0")
    with pytest.raises(AdaptkitError, match="unknown adapter 'a0'"):
        host.unload("a0")
    host.slots.release([current])
    thread.join(timeout=5)
    assert done.is_set()
    host.slots.release([old])
    assert quiet(host)
    used = host.slots.admit("a1")
    with pytest.raises(AdaptkitError, match="'a1' is still answering 1 requests after 0.01 s"):
        host.unload("a1", timeout=0.01)
    host.slots.release([used])
    assert quiet(host)


def test_two_loads_for_the_last_slot(root):
    for _ in range(5):
        host = Host(str(root / "base"), slots=1, slot_capacity="lora[r=4]")
        barrier, outcomes = threading.Barrier(2), []

        def load(name, host=host, barrier=barrier, outcomes=outcomes):
            barrier.wait()
            try:
                host.load(name, root / f"store/{name}")
                outcomes.append("loaded")
            except AdaptkitError:
                outcomes.append("refused")

        threads = [
            threading.Thread(target=load, args=(name,), daemon=True) for name in ("a0", "a5")
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=20)
        assert sorted(outcomes) == ["loaded", "refused"]
        assert quiet(host)


def _slots(count: int) -> Slots:
    return Slots(count, width=8, dtype=torch.float32, device=torch.device("cpu"))


def test_a_slot_that_is_promised_is_not_given_twice():
    """A load has its slot before it has a name; until then nobody else gets the last one."""
    slots = _slots(2)
    reserved = [slots._reserve(name, wait=False) for name in ("a", "b", "c")]
    assert reserved == [0, 1, None]
    assert not slots.could_hold("c")
    slots._give_back(1)
    assert slots.could_hold("c")
    assert slots._reserve("c", wait=False) == 1


def test_a_load_waits_for_a_promised_slot_and_gets_it_when_that_load_fails():
    slots, got = _slots(1), []
    first = slots._reserve("a", wait=True)
    thread = threading.Thread(target=lambda: got.append(slots._reserve("b", wait=True)))
    thread.start()
    time.sleep(0.05)
    assert not got
    slots._give_back(first)
    thread.join(timeout=5)
    assert got == [first]


def test_the_least_recently_used_adapter_of_a_store_is_evicted(root):
    host = Host.from_store(root / "store", slots=3, slot_capacity="lora[r=4]")
    for name in ("a0", "a1", "a5", "a0"):
        host(TEXTS[:1], name)
    busy = host.slots.admit("a1")  # the oldest, but in use
    busy.used = 0.0
    host.load("guest", root / "store/a0")
    assert host.slots.names() == ["a0", "a1", "guest"]
    assert host.slots.evictions == 1
    host.slots.release([busy])
    assert quiet(host)


def _parsed(value: float, width: int = 8) -> ParsedAdapter:
    row = torch.full((width,), value)
    return ParsedAdapter(Path("folder"), None, row, None, None, max_length=32)


@pytest.mark.parametrize("count, more", [(8, ""), (9, ", ...")])
def test_a_full_host_names_up_to_eight_adapters(count, more):
    slots = _slots(count)
    for number in range(count):
        slots.put(f"a{number}", _parsed(number))
    names = ", ".join(f"a{number}" for number in range(8))
    with pytest.raises(AdaptkitError) as refused:
        slots.put("more", _parsed(9))
    assert f"all {count} slots are taken ({names}{more}): unload one" in str(refused.value)


def test_an_adapter_lies_in_its_slot_and_gives_its_row_away():
    slots = _slots(2)
    short, whole = _parsed(3.0, width=5), _parsed(7.0)
    one, two = slots.put("b", short), slots.put("a", whole, evictable=True, admit=True)
    assert slots.rows[one.slot].tolist() == [3.0] * 5 + [0.0] * 3
    assert slots.rows[two.slot].tolist() == [7.0] * 8
    assert short.row is None
    assert [(a.name, a.evictable, a.ref_count) for a in slots.listed()] == [
        ("a", True, 1),
        ("b", False, 0),
    ]
    assert slots.names() == ["a", "b"]
    assert slots.holds("a")
    assert not slots.holds("c")
    assert slots.bytes == 3 * 8 * 4
    assert two.version > one.version


def test_a_row_that_fits_no_slot_leaves_no_promise():
    slots = _slots(1)
    with pytest.raises(RuntimeError):
        slots.put("wide", _parsed(1.0, width=9))
    assert slots.names() == []
    assert slots.could_hold("other")
    slots.put("other", _parsed(1.0))
    assert not slots.could_hold("more")
    assert slots.could_hold("other")  # it would be replaced


def test_whether_a_slot_could_be_had_without_waiting():
    slots = _slots(1)
    used = slots.put("a", _parsed(1.0), evictable=True, admit=True)
    assert slots.could_hold("b")  # the spare slot is free: a goes on in its own
    assert slots.put("b", _parsed(2.0), evictable=True, wait=False) is not None
    assert slots.evictions == 1
    assert slots.could_hold("c")  # in place of b, which nobody uses
    busy = slots.admit("b")
    assert not slots.could_hold("c")  # both slots answer
    assert slots.put("c", _parsed(3.0), wait=False) is None
    slots.release([used])
    assert slots.could_hold("c")
    slots.release([busy])
    assert slots.put("c", _parsed(3.0), wait=False) is not None
    assert slots.names() == ["c"]


def test_the_adapter_that_nobody_uses_is_evicted_before_an_older_one_in_use():
    slots = _slots(2)
    old = slots.put("old", _parsed(1.0), evictable=True, admit=True)
    new = slots.put("new", _parsed(2.0), evictable=True)
    old.used, new.used = 1.0, 2.0
    slots.put("guest", _parsed(3.0))
    assert slots.names() == ["guest", "old"]
    assert slots.evictions == 1
    slots.put("old", _parsed(4.0), evictable=True)  # its rows under way keep the first version
    assert slots.rows[old.slot, 0] == 1.0
    slots.release([old])
    assert sorted(slots._free) == sorted({0, 1, 2} - {a.slot for a in slots.listed()})


def test_a_load_waits_for_rows_under_way_unless_told_not_to():
    slots, got = _slots(1), []
    used = [slots.put(name, _parsed(1.0), evictable=True, admit=True) for name in ("a", "b")]
    assert slots.put("c", _parsed(3.0), wait=False) is None
    thread = threading.Thread(target=lambda: got.append(slots.put("c", _parsed(3.0))))
    thread.start()
    time.sleep(0.05)
    assert not got
    slots.release(used[:1])
    thread.join(timeout=5)
    assert slots.rows[got[0].slot, 0] == 3.0


def test_evictions_are_counted():
    slots = _slots(1)
    for number in range(4):
        slots.put(f"a{number}", _parsed(number), evictable=True)
    assert slots.evictions == 3
    assert slots.names() == ["a3"]


def test_admitting_is_using():
    slots = _slots(2)
    first = slots.put("a", _parsed(1.0))
    before = first.used = 0.0
    assert slots.admit("a") is first
    assert first.used > before
    assert first.ref_count == 1
    assert slots.admit("b") is None
    slots.release([first])
    slots.remove("a", timeout=0.1)
    assert slots.names() == []
    assert sorted(slots._free) == [0, 1, 2]
