"""A store with more adapters than slots: names, evictions, and that nobody is kept out."""

import asyncio
import shutil
import threading
import time

import pytest
import torch

from adaptkit import AdaptkitError, Host
from tests.host.store import LABELS, TEXTS, quiet
from tests.host.threads import within


@pytest.mark.parametrize(
    "name",
    [
        "../a0",
        "/etc/passwd",
        "a/b",
        "..",
        ".",
        "",
        ".hidden",
        "a\\b",
        "a\0b",
        "a\nb",
        "x" * 300,
        None,
        3,
    ],
)
def test_names_that_lead_elsewhere_are_refused(name, host, root):
    with pytest.raises(AdaptkitError, match="cannot be a name"):
        host.load(name, root / "store/a0")
    store = Host.from_store(root / "store", slots=2)
    if name is not None:
        with pytest.raises(AdaptkitError, match="unknown adapter"):
            store(TEXTS[:1], [name])
    assert not store.slots.loaded_adapters


def test_a_link_out_of_the_store_is_no_adapter(root, tmp_path):
    shutil.copytree(root / "store", tmp_path / "store")
    shutil.copytree(root / "store/a0", tmp_path / "secret")
    (tmp_path / "store/link").symlink_to(tmp_path / "secret")
    with pytest.raises(AdaptkitError, match="unknown adapter 'link'"):
        Host.from_store(tmp_path / "store", slots=2)(TEXTS[:1], "link")


def test_a_store_that_has_more_adapters_than_slots(root):
    host = Host.from_store(root / "store", slots=2)
    names = [f"a{i % 6}" for i in range(12)]
    answers = host(TEXTS[:12], names)
    assert host.stats()["used"] == 2
    assert host.stats()["evictions"] == 4
    whole = Host.from_store(root / "store", slots=6)
    for one, other in zip(answers, whole(TEXTS[:12], names), strict=True):
        assert one.label == other.label
        assert one.score == pytest.approx(other.score, abs=1e-5)
    host(TEXTS[:1], "a0")
    host(TEXTS[:1], "a1")
    host(TEXTS[:1], "a0")
    host(TEXTS[:1], "a2")  # a1 was used longest ago
    assert set(host.stats()["adapters"]) == {"a0", "a2"}
    with pytest.raises(AdaptkitError, match="unknown adapter 'a9'. Known: a0, a1"):
        host(TEXTS[:1], "a9")
    assert quiet(host)


def test_many_threads_over_a_small_store(root):
    host, whole = Host.from_store(root / "store", slots=2), Host.from_store(root / "store", slots=6)
    expected = {name: whole(TEXTS[0], name)[0] for name in whole.names()}
    wrong: list = []

    def ask(seed: int):
        for turn in range(12):
            names = [f"a{(seed * 5 + turn * k) % 6}" for k in range(1, 5)]
            for name, answer in zip(names, host([TEXTS[0]] * 4, names), strict=True):
                if (
                    answer.label != expected[name].label
                    or abs(answer.score - expected[name].score) > 1e-5
                ):
                    wrong.append((name, answer, expected[name]))

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    assert not any(thread.is_alive() for thread in threads)
    assert not wrong
    assert quiet(host)


def test_a_busy_adapter_keeps_nobody_out(root):
    host, stop = Host.from_store(root / "store", slots=1), threading.Event()

    def busy():
        while not stop.is_set():
            host(TEXTS[:2], "a0")

    threads = [threading.Thread(target=busy) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        within(20, lambda: host(TEXTS[:1], "a1"))
        within(20, lambda: asyncio.run(host.submit(TEXTS[0], "a2")))
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert quiet(host)


def test_adapters_are_read_once_though_slots_are_few(root, monkeypatch):
    host = Host.from_store(root / "store", slots=2)
    reads, read = [], host.loader.read
    monkeypatch.setattr(
        host.loader, "read", lambda *given, **more: (reads.append(given), read(*given, **more))[1]
    )
    host(TEXTS[:6], [f"a{i}" for i in range(6)])
    assert len(reads) == 6
    held = [host._manager.admit(name, wait=False) for name in ("a0", "a1", "a2")]
    count = len(reads)
    future = host._queue.put(TEXTS[0], "a3")
    time.sleep(0.2)
    assert len(reads) == count
    host.slots.release([one for one in held if one])
    assert future.result(timeout=10).label in LABELS


def test_more_adapters_than_slots_have_hidden_states_too(root):
    few, many = Host.from_store(root / "store", slots=1), Host.from_store(root / "store", slots=6)
    names = ["a3", None, "a0", "a5", "a1", "a3"]
    batch = {
        "input_ids": torch.randint(5, 100, (6, 7)),
        "attention_mask": torch.ones(6, 7, dtype=torch.long),
    }
    torch.testing.assert_close(
        few.hidden(batch, names), many.hidden(batch, names), atol=1e-5, rtol=1e-5
    )
    for wrong in (
        {},
        {"input_ids": torch.ones(0, 3, dtype=torch.long)},
        {**batch, "position_ids": torch.arange(7)[None]},
    ):
        with pytest.raises(AdaptkitError):
            few.hidden(wrong)


def test_an_adapter_whose_folder_is_deleted_answers_no_more(root, tmp_path, monkeypatch):
    """It answered from its slot for as long as nothing else needed that."""
    monkeypatch.setattr("adaptkit.host.manager.AWAY", 0.2)
    folder = tmp_path / "store"
    shutil.copytree(root / "store", folder)
    host = Host.from_store(folder, slots=3)
    host.load("kept", root / "store/a1")
    before = host(TEXTS[:1], ["a0"])[0], host(TEXTS[:1], ["kept"])[0]
    shutil.rmtree(folder / "a0")
    assert host.reload_changed() == {}  # whoever replaces it has not done so yet
    shutil.copytree(root / "store/a0", folder / "a0")
    time.sleep(0.3)
    assert set(host.reload_changed().values()) <= {None}
    assert host(TEXTS[:1], ["a0"])[0] == before[0]
    shutil.rmtree(folder / "a0")
    host.reload_changed()
    time.sleep(0.3)
    assert "was deleted" in host.reload_changed()["a0"]
    with pytest.raises(AdaptkitError, match="unknown adapter 'a0'"):
        host(TEXTS[:1], ["a0"])
    assert host(TEXTS[:1], ["kept"])[0] == before[1]
    assert quiet(host)
