"""What a fresh pair of eyes broke once: hangs, starvation, rows that got each other's settings,
files with absurd values.
"""

import asyncio
import json
import os
import shutil
import threading
import time
from pathlib import Path

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from adaptkit import AdaptkitError, Host, adapt
from tests.host.build import batch_for
from tests.host.store import LABELS, TEXTS, edit, quiet, weights
from tests.host.test_mixes import made
from tests.tiny import inputs, randomize, tiny


def within(seconds: float, action) -> None:
    """Run in another thread; a hang is a failure."""
    done, problems = threading.Event(), []

    def run():
        try:
            action()
        except BaseException as problem:
            problems.append(problem)
        done.set()

    threading.Thread(target=run, daemon=True).start()
    assert done.wait(seconds), "it hangs"
    if problems:
        raise problems[0]


def test_an_interrupt_in_a_forward_leaves_the_host_to_others(host):
    def interrupt(*_):
        raise KeyboardInterrupt

    hook = host.backbone.network.encoder.layer[1].register_forward_pre_hook(interrupt)
    with pytest.raises(KeyboardInterrupt):
        host(TEXTS[:2], "a0")
    hook.remove()
    within(10, lambda: host(TEXTS[:2], "a0"))
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


QUERY = "base_model.model.bert.encoder.layer.0.attention.self.query.lora_A.weight"
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


@pytest.mark.parametrize(
    "settings",
    [
        {"lora_alpha": "x"},
        {"lora_alpha": None},
        {"alpha_pattern": 5},
        {"alpha_pattern": {"(": 3}},
        {"base_model_name_or_path": 5},
    ],
)
def test_absurd_settings_of_pefts_are_refused(settings, tmp_path):
    model = peft.get_peft_model(tiny("bert"), peft.LoraConfig(r=2, target_modules=["query"]))
    model.save_pretrained(tmp_path / "one", save_embedding_layers=False)
    edit(tmp_path / "one", "adapter_config.json", **settings)
    with pytest.raises(AdaptkitError):
        Host(tiny("bert"), slots=1).load("one", tmp_path / "one")


@pytest.mark.parametrize(
    "shape_a, shape_b",
    [((), (32, 2)), ((2,), (32, 2)), ((0, 32), (32, 0)), ((2, 32), (1, 2)), ((2, 2, 32), (32, 2))],
)
def test_lora_of_odd_shapes_is_refused(shape_a, shape_b, tmp_path):
    model = peft.get_peft_model(
        tiny("bert"), peft.LoraConfig(r=2, target_modules=["query", "pooler.dense"])
    )
    model.save_pretrained(tmp_path / "one", save_embedding_layers=False)
    path = tmp_path / "one/adapter_model.safetensors"
    for part in ("layer.0.attention.self.query", "pooler.dense"):
        tensors = load_file(path)
        key = next(key for key in tensors if f"{part}.lora_A" in key)
        changed = {key: torch.ones(shape_a), key.replace("lora_A", "lora_B"): torch.ones(shape_b)}
        (tmp_path / part).mkdir()
        shutil.copy(tmp_path / "one/adapter_config.json", tmp_path / part)
        save_file({**tensors, **changed}, tmp_path / part / "adapter_model.safetensors")
        with pytest.raises(AdaptkitError):
            Host(tiny("bert"), slots=1).load("one", tmp_path / part)


CLASSES = {
    "llama": (AutoModelForCausalLM, ["q_proj"]),
    "bert": (AutoModelForSequenceClassification, ["query"]),
}


@pytest.mark.parametrize("name", CLASSES)
def test_a_lora_without_task_type_is_known_by_its_class(name, tmp_path):
    auto, targets = CLASSES[name]
    more = {"modules_to_save": ["classifier"]} if name == "bert" else {}
    theirs = peft.get_peft_model(
        tiny(name, auto), peft.LoraConfig(r=4, target_modules=targets, **more)
    )
    randomize(theirs, std=0.2)
    theirs.eval().save_pretrained(tmp_path / "one", save_embedding_layers=False)
    assert json.loads((tmp_path / "one/adapter_config.json").read_text())["task_type"] is None
    base = tiny(name, auto) if name == "llama" else tiny(name, auto).bert
    host = Host(base, slots=1)
    host.load("one", tmp_path / "one", check_base=False)
    batch = batch_for(name, 3)
    expected = theirs(**batch, output_hidden_states=True).hidden_states[-1].detach()
    seen = batch["attention_mask"].bool()
    torch.testing.assert_close(
        host.hidden(batch, "one")[seen], expected[seen], atol=1e-5, rtol=1e-5
    )


def test_settings_that_belong_to_one_row_or_to_nobody_are_refused():
    host = made("llama")[2]
    for settings, message in (
        ({"prefix_allowed_tokens_fn": lambda b, ids: [10 + b]}, "unknown setting of generate"),
        ({"decoder_input_ids": torch.ones(1, 2)}, "unknown setting of generate"),
        ({"do_sample": True, "typical_p": 0.2}, "unknown setting of generate 'typical_p'"),
        ({"temperature": 0.5}, "goes with do_sample=True"),
        ({"temprature": 0.5, "do_sample": True}, "did you mean 'temperature'"),
        ({"do_sample": True, "num_beams": 2}, "do not go together"),
        ({"do_sample": True, "temperature": 0.0}, "cannot sample so"),
        ({"do_sample": True, "top_p": 5.0}, "cannot sample so"),
        ({"do_sample": True, "top_k": -1}, "cannot sample so"),
        ({"max_new_tokens": 0}, "max_new_tokens is a whole number, 1 or more"),
        ({"num_beams": 0}, "num_beams is a whole number"),
        ({"batch_size": -1}, "batch_size is a whole number"),
        ({"seed": None}, "seed is a whole number"),
        ({"seed": [1, 2, 3]}, "1 prompts|seed is a whole number"),
        ({"max_new_tokens": 10**6}, "positions"),
    ):
        with pytest.raises(AdaptkitError, match=message):
            host.generate([[5, 6, 7]], **settings)
    for prompts in ([[]], [[5], []], [5, 6, 7], [[10**6]], [[5], "text"], ["text"]):
        with pytest.raises(AdaptkitError, match="prompt 0 is|prompt 1 is|without a tokenizer"):
            host.generate(prompts)


def test_ids_end_with_the_end_token_whatever_the_batch():
    host = made("gpt2")[2]
    prompts = [
        ids[: 2 + i % 5].tolist() for i, ids in enumerate(inputs("gpt2", rows=12)["input_ids"])
    ]
    names = [f"a{i}" for i in range(12)]
    together = host.generate(prompts, names, max_new_tokens=12)
    alone = [
        host.generate([prompt], name, max_new_tokens=12)[0]
        for prompt, name in zip(prompts, names, strict=True)
    ]
    assert together == alone
    assert {len(ids) for ids in together} != {12}


NO_HOSTS = (
    {"max_rows": 0},
    {"max_rows": "x"},
    {"max_wait": float("inf")},
    {"max_wait": "x"},
    {"max_queue": 0},
    {"slots": 0},
)


@pytest.mark.parametrize(
    "settings",
    [
        *NO_HOSTS,
        {"slots": 1.5},
        {"slot_capacity": []},
        {"slot_capacity": "lroa"},
        {"slots": 10**9},
        {"slot_capacity": "lora[r=1000000000]"},
    ],
)
def test_numbers_that_make_no_host_are_refused(settings):
    with pytest.raises(AdaptkitError):
        Host(tiny("bert"), **settings)


def test_only_bare_models_become_hosts():
    adapted = adapt(tiny("bert"), "lora")
    for base in (adapted, adapted.get_base_model(), torch.nn.Linear(2, 2), 5):
        with pytest.raises(AdaptkitError, match="a transformers model without adapters"):
            Host(base)


def test_cancelled_rows_make_room_in_the_queue(root):
    host = Host(str(root / "base"), slots=1, max_queue=3, max_wait=0.5)
    for future in [host._queue.put(TEXTS[0], None) for _ in range(3)]:
        assert future.cancel()
    assert host._queue.put(TEXTS[0], None).result(timeout=10).states.shape[1] == 32
    assert quiet(host)


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


def test_a_text_longer_than_the_base_is_cut_to_it(root, tmp_path):
    folder = Path(shutil.copytree(root / "store/a0", tmp_path / "long"))
    edit(folder, "task.json", max_length=100_000)
    host = Host(str(root / "base"), slots=1, slot_capacity="lora[r=4]")
    host.load("long", folder)
    assert host(" ".join(TEXTS * 5), "long")
    assert host(" ".join(TEXTS * 5))[0].states.shape[0] <= 512
    for rows in (5, None, [5], [None]):
        with pytest.raises(AdaptkitError):
            host(rows)


def test_what_a_new_user_tried(root):
    with Host.from_store(root / "store", slots=2) as host:
        host.unload("a3")  # in no slot anyway
        host.load("mine", root / "store/a0")
        host.load("a1", root / "store/a1")
        with pytest.raises(AdaptkitError, match=r"all 2 slots are taken \(a1, mine\)"):
            host(TEXTS[:1], "a2")  # what was loaded by hand does not leave
        with pytest.raises(AdaptkitError, match="labels= is for adapters without a card"):
            host.load("mine", root / "store/a0", labels=["x"])
        for adapters in (3, [["x"]], {"a": 1}):
            with pytest.raises(AdaptkitError):
                host(TEXTS[:1], adapters)
        for wrong in ("text", 5, None):
            with pytest.raises(AdaptkitError, match="hidden wants inputs"):
                host.hidden(wrong)
    with pytest.raises(AdaptkitError, match="the host is closed"):
        asyncio.run(host.submit(TEXTS[0], "mine"))
    with pytest.raises(AdaptkitError, match="unknown option of Host 'slot'; did you mean 'slots'"):
        Host(str(root / "base"), slot=3)
    for prompts in ({"text": "One day"}, 3):
        with pytest.raises(AdaptkitError, match="prompts are texts or lists of ids"):
            made("llama")[2].generate(prompts)
