"""Attempted attacks and accidents: whatever is wrong with an adapter, the host is as it was, and
other rows are right.
"""

import os
import pickle
import shutil
import threading
from pathlib import Path

import pytest
import torch

from adaptkit import AdaptkitError, Host
from tests.host.store import TEXTS, edit, quiet, weights, write
from tests.host.threads import within


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
    "absurd method": (
        lambda f: (
            edit(f, "task.json", method="lora[r=60000]"),
            edit(f, "adapter_config.json", r=60000, lora_alpha=120000),
        ),
        "a slot holds",
    ),
    "two alphas": (
        lambda f: edit(f, "adapter_config.json", lora_alpha=100),
        "'lora_alpha' is 100, which is not what task.json says",
    ),
    "modules left out": (
        lambda f: edit(f, "adapter_config.json", modules_to_save=None),
        "modules_to_save does not name 'bert.pooler",
    ),
    "more modules": (
        lambda f: edit(f, "adapter_config.json", modules_to_save=["classifier", "pooler"]),
        "modules_to_save names 'pooler', and the file of the weights holds none of it",
    ),
    "no labels": (lambda f: edit(f, "task.json", labels=[]), "its card names no labels"),
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


def test_fifty_bad_loads_among_five_hundred_good_requests(host, root, tmp_path):
    """Eight threads ask, one loads rubbish, one replaces and unloads; every answer is the one that
    was given before.
    """
    expected = {
        (name, i): host(TEXTS[i], name)[0] for name in ("a0", "a1", "a2", None) for i in range(8)
    }
    problems, refused = [], []

    def ask(seed: int):
        for turn in range(64):
            names = [("a0", "a1", "a2", None)[(seed + turn + k) % 4] for k in range(3)]
            numbers = [(seed * turn + k) % 8 for k in range(3)]
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
        for turn in range(50):
            folder = Path(shutil.copytree(root / "store/a0", tmp_path / f"bad{turn}"))
            ATTACKS[attacks[turn % len(attacks)]][0](folder)
            try:
                host.load(["new", "a0"][turn % 2], folder)
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


def test_bad_folders_of_a_store_hurt_nobody_else(root, tmp_path):
    shutil.copytree(root / "store", tmp_path / "store")
    for name, values in {
        "x0": {"method": "nonsense"},
        "x1": {"method": 5},
        "x2": {"base": ["a"]},
        "x3": {"method": "lora[r=20000]"},
        "x4": {"method": "lora[sites=cross.q]"},
    }.items():
        shutil.copytree(root / "store/a0", tmp_path / "store" / name)
        edit(tmp_path / "store" / name, "task.json", **values)
    (tmp_path / "store/a1/task.json").write_text("{")
    host = Host.from_store(tmp_path / "store", slots=2)
    assert host.stats()["slot_bytes"] < 100_000
    assert host(TEXTS[:1], "a0")
    for name in ("x0", "x1", "x2", "x3", "x4", "a1"):
        with pytest.raises(AdaptkitError, match=f"store/{name}"):
            host(TEXTS[:1], name)
    assert quiet(host)


CARDS = {
    "max_length": [-1, 0, "64", 3.5, 10**30],
    "labels": [5, [1, 2, 3], ["a", "a", "b"], "abc", ["a", "b"]],
    "columns": [5, "text", {"text": 3}],
    "settings": [5, "x", {"threshold": "x"}, {"no_such": 1}, {"multi_label": "yes"}],
    "fingerprint": ["zz", 5],
    "model_class": [
        5,
        "pipeline",
        "set_seed",
        "Trainer",
        "BertForTokenClassification",
        "BertModel",
        "AutoModel",
    ],
    "task": ["tag", "embed", 7],
    "base": [5],
    "method": [5, [], "lora[r=0]", "lora[r=100000]"],
}


@pytest.mark.parametrize(
    "key, value", [(key, value) for key, values in CARDS.items() for value in values]
)
def test_absurd_cards_are_refused(key, value, host, root, tmp_path):
    folder = shutil.copytree(root / "store/a0", tmp_path / "bad")
    edit(folder, "task.json", **{key: value})
    before = host.slots.rows.clone()
    with pytest.raises(AdaptkitError):
        host.load("bad", folder)
    assert torch.equal(host.slots.rows, before)
    assert quiet(host)


TENSORS = {
    "a delta of our own making": lambda t: t.update(
        {"base_model.model.bert.pooler.dense.lora_delta": torch.ones(32, 32)}
    ),
    "one tensor twice": lambda t: t.update(
        {k.replace("model.bert.", "model."): v + 1 for k, v in t.items() if "query.lora_A" in k}
    ),
    "whole numbers": lambda t: t.update(
        {k: v.int() for k, v in t.items() if "layer.0.attention.self.query.lora_A" in k}
    ),
    "complex": lambda t: t.update(
        {
            k: v.to(torch.complex64)
            for k, v in t.items()
            if "layer.0.attention.self.query.lora_A" in k
        }
    ),
    "fp8": lambda t: t.update(
        {
            k: v.to(torch.float8_e4m3fn)
            for k, v in t.items()
            if "layer.0.attention.self.query.lora_A" in k
        }
    ),
}


@pytest.mark.parametrize("name", TENSORS)
def test_odd_tensors_are_refused(name, host, root, tmp_path):
    folder = shutil.copytree(root / "store/a0", tmp_path / "bad")
    weights(folder, TENSORS[name])
    with pytest.raises(AdaptkitError):
        host.load("bad", folder)
    assert quiet(host)


def test_a_pipe_in_place_of_a_file_does_not_hang(host, root, tmp_path):
    folder = shutil.copytree(root / "store/a0", tmp_path / "bad")
    (folder / "adapter_model.safetensors").unlink()
    os.mkfifo(folder / "adapter_model.safetensors")
    with pytest.raises(AdaptkitError, match=r"has no adapter_model.safetensors"):
        within(5, lambda: host.load("bad", folder))
