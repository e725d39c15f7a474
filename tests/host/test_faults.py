"""Attempted attacks and accidents: whatever is wrong with an adapter, the host is as it was, and
other rows are right.
"""

import asyncio
import os
import pickle
import shutil
import threading
import time
from pathlib import Path

import pytest
import torch

from adaptkit import AdaptkitError, Host, TaskCard, adapt, load_base, save_adapter
from adaptkit.host.batcher import HostBusyError
from tests.host.store import LABELS, TEXTS, edit, quiet, weights, write
from tests.tiny import randomize


def flip(folder: Path) -> None:
    path = folder / "adapter_model.safetensors"
    content = bytearray(path.read_bytes())
    content[-5] ^= 16
    path.write_bytes(content)


def as_pickle(folder: Path) -> None:
    (folder / "adapter_model.safetensors").write_bytes(pickle.dumps({"lora": [1, 2, 3]}))


def first(tensors, part: str = "lora_A") -> str:
    return next(key for key in sorted(tensors) if part in key)


ATTACKS = {
    "truncated": (
        lambda f: os.truncate(f / "adapter_model.safetensors", 3000),
        "not a whole safetensors file",
    ),
    "empty": (
        lambda f: (f / "adapter_model.safetensors").write_bytes(b""),
        "not a whole safetensors file",
    ),
    "one bit": (flip, "checksum differs"),
    "nan": (
        lambda f: weights(f, lambda t: t[first(t)].view(-1)[:1].fill_(float("nan"))),
        "not finite",
    ),
    "infinity": (
        lambda f: weights(f, lambda t: t[first(t, "classifier")].view(-1)[:1].fill_(float("inf"))),
        "not finite",
    ),
    "renamed": (
        lambda f: weights(f, lambda t: t.update(nobody=t.pop(first(t)))),
        "the weights lack",
    ),
    "extra": (
        lambda f: weights(f, lambda t: t.update(extra=torch.ones(2))),
        "extra belong nowhere",
    ),
    "wrong rank": (
        lambda f: weights(f, lambda t: t.update({first(t): t[first(t)][:2].clone()})),
        "lora_A and lora_B have shapes",
    ),
    "no head": (
        lambda f: weights(f, lambda t: [t.pop(k) for k in list(t) if "classifier" in k]),
        "classifier.weight missing",
    ),
    "other head": (
        lambda f: weights(
            f, lambda t: t.update({first(t, "classifier.weight"): torch.ones(4, 32)})
        ),
        "has shape",
    ),
    "pickle": (as_pickle, "not a whole safetensors file"),
    "only a pickle": (
        lambda f: (f / "adapter_model.safetensors").rename(f / "adapter_model.bin"),
        "which is not read",
    ),
    "no settings": (lambda f: (f / "adapter_config.json").unlink(), "is not an adapter"),
    "settings are a list": (
        lambda f: (f / "adapter_config.json").write_text("[1]"),
        "should hold a JSON object",
    ),
    "card is cut": (lambda f: (f / "task.json").write_text('{"task": '), "not valid JSON"),
    "unknown task": (lambda f: edit(f, "task.json", task="juggle"), "unknown task 'juggle'"),
    "unknown method": (
        lambda f: edit(f, "task.json", method="lroa"),
        "unknown method 'lroa'; did you mean 'lora'",
    ),
    "absurd method": (lambda f: edit(f, "task.json", method="lora[r=1000000000]"), "a slot holds"),
    "other class": (lambda f: edit(f, "task.json", model_class="Trainer"), "Trainer"),
    "missing folder": (shutil.rmtree, "there is no adapter folder"),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_bad_adapter_is_refused_and_the_host_is_as_it_was(attack, host, root, tmp_path):
    before, names = host(TEXTS[:3], ["a0", "a1", "a2"]), host.names()
    rows = host.slots.rows.clone()
    folder = Path(shutil.copytree(root / "store/a0", tmp_path / "bad"))
    damage, message = ATTACKS[attack]
    damage(folder)
    for name in ("new", "a0"):  # a new name, and one that is there
        with pytest.raises(AdaptkitError, match=message):
            host.load(name, folder)
    assert host.names() == names
    assert torch.equal(host.slots.rows, rows)
    assert host(TEXTS[:3], ["a0", "a1", "a2"]) == before
    assert quiet(host)


def test_another_base_of_the_same_shape_is_refused(host, root, tmp_path):
    write(root, tmp_path / "other", "lora[r=4]", seed=0, base="twin")
    with pytest.raises(AdaptkitError, match="trained on another base"):
        host.load("other", tmp_path / "other")
    host.load("other", tmp_path / "other", check_base=False)
    assert host(TEXTS[:1], "other")


def test_an_adapter_that_is_too_large_says_what_would_hold_it(host, root, tmp_path):
    write(root, tmp_path / "large", "lora[r=16]", seed=0)
    with pytest.raises(
        AdaptkitError, match=r"a slot holds .*: Host\(..., slot_capacity='lora\[.*r=16.*\]'\)"
    ):
        host.load("large", tmp_path / "large")
    assert quiet(host)


def test_no_slot_is_left(host, root):
    host.load("a3", root / "store/a3")
    with pytest.raises(AdaptkitError, match=r"all 4 slots are taken \(a0, a1, a2, a3\)"):
        host.load("a4", root / "store/a4")
    host.load("a3", root / "store/a4")  # one that is there is replaced all the same
    host.unload("a3")
    host.load("a4", root / "store/a4")
    assert quiet(host)


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


def test_a_folder_that_is_replaced_while_it_is_loaded_is_one_version_or_the_other(
    host, root, tmp_path
):
    """Both versions answer differently; nothing in between ever does."""
    versions = [host(TEXTS[:1], name)[0] for name in ("a0", "a1")]
    stop = threading.Event()

    def replace():
        models = [
            adapt(load_base(str(root / "base"), task="classify", labels=LABELS), m)
            for m in ("lora[r=4]", "lora[r=2]")
        ]
        for i, model in enumerate(models):
            randomize(model, seed=i, std=0.4)
        while not stop.is_set():
            for model in models:
                save_adapter(
                    model,
                    tmp_path / "live",
                    card=TaskCard(task="classify", labels=LABELS, max_length=32),
                )

    thread = threading.Thread(target=replace)
    thread.start()
    while not (tmp_path / "live/task.json").exists():
        time.sleep(0.01)
    seen, refused = [], []
    try:
        for _ in range(60):
            try:
                host.load("live", tmp_path / "live")
            except AdaptkitError as problem:
                refused.append(str(problem))
                continue
            seen.append(host(TEXTS[:1], "live")[0])
    finally:
        stop.set()
        thread.join()
    assert {answer.label for answer in seen} <= {answer.label for answer in versions}
    for answer in seen:
        assert (
            min(
                abs(answer.score - version.score)
                for version in versions
                if version.label == answer.label
            )
            < 1e-5
        )
    assert len(seen) > 20
    assert all("was replaced or deleted while it was read" in problem for problem in refused)
    assert quiet(host)


def test_fifty_bad_loads_among_five_hundred_good_requests(host, root, tmp_path):
    """Eight threads ask, one loads rubbish, one replaces and unloads; every answer is the one that
    was given before.
    """
    expected = {
        (name, i): host(TEXTS[i], name)[0] for name in ("a0", "a1", "a2", None) for i in range(8)
    }
    problems, refused = [], []

    def ask(seed: int):
        for forward_lock in range(64):
            names = [("a0", "a1", "a2", None)[(seed + forward_lock + k) % 4] for k in range(3)]
            numbers = [(seed * forward_lock + k) % 8 for k in range(3)]
            answers = host([TEXTS[i] for i in numbers], names)
            for name, i, answer in zip(names, numbers, answers, strict=True):
                known = expected[name, i]
                if name is None:
                    same = torch.allclose(answer.states, known.states, atol=1e-5)
                else:
                    same = answer.label == known.label and abs(answer.score - known.score) < 1e-5
                if not same:
                    problems.append((name, i, answer, known))

    def spoil():
        attacks = [attack for attack in ATTACKS if attack != "missing folder"]
        for forward_lock in range(50):
            folder = Path(shutil.copytree(root / "store/a0", tmp_path / f"bad{forward_lock}"))
            ATTACKS[attacks[forward_lock % len(attacks)]][0](folder)
            try:
                host.load(["new", "a0"][forward_lock % 2], folder)
            except AdaptkitError as problem:
                refused.append(problem)
            host.load("a1", root / "store/a1")  # the same version again, in another slot
            host.load("guest", root / "store/a3")
            host.unload("guest")

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(8)] + [
        threading.Thread(target=spoil)
    ]
    failures = []
    for thread in threads:
        run = thread.run

        def guarded(run=run):
            try:
                run()
            except BaseException as problem:
                failures.append(problem)

        thread.run = guarded
        thread.start()
    for thread in threads:
        thread.join(timeout=300)
    assert not any(thread.is_alive() for thread in threads)
    assert not failures
    assert not problems
    assert len(refused) == 50
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
        for forward_lock in range(12):
            names = [f"a{(seed * 5 + forward_lock * k) % 6}" for k in range(1, 5)]
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
        order.extend(row.name for row, _ in ready),
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
