"""The cost of loading and choosing adapters in a host, and the memory of 1000 adapters.

    python benchmarks/host_load.py [--counts 1 64 512] [--many 1000]

Milliseconds per load at 1, 64 and 512 adapters. BERT-base shape (12 layers, 768 wide), random
weights, LoRA r 8 with a classifier head of 2 labels, files written by adaptkit and read from disk
(in the system's cache). Loads are medians of 15, beside `PeftModel.load_adapter` of the same files.
Choosing is everything between 32 names and a batch, without the copy of the weights, which happens
while the batch runs.
"""

import argparse
import gc
import os
import random
import statistics
import tempfile
import time
import warnings
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import psutil
import torch
from transformers import BertConfig, BertForSequenceClassification, BertModel

from adaptkit import Host, TaskCard, adapt, save_adapter
from adaptkit.host.rows import order

METHODS = {"q,v": "lora[r=8,sites=attn.q|attn.v]", "all linear": "lora[r=8]"}
FILES = 8


def main() -> None:
    """Print two tables."""
    warnings.filterwarnings("ignore")
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--counts", type=int, nargs="+", default=[1, 64, 512])
    parser.add_argument("--many", type=int, default=1000)
    given = parser.parse_args()
    torch.manual_seed(0)
    base = BertForSequenceClassification(BertConfig()).eval()
    network = BertModel(BertConfig())
    network.load_state_dict(base.bert.state_dict())
    with tempfile.TemporaryDirectory() as folder:
        for name, method in METHODS.items():
            write(base, method, Path(folder) / name)
        print(
            "| adapter | loaded before | load, ms | PEFT load_adapter, ms | choose 32 rows, ms "
            "|\n|---|---|---|---|---|"
        )
        for name, method in METHODS.items():
            for row in loads(network, base, Path(folder) / name, method, given.counts):
                print(f"| {name} | {row} |", flush=True)
        print(
            f"\n{given.many} adapters on q and v in bf16: "
            f"{memory(network, Path(folder) / 'q,v', given.many)}"
        )


def write(base, method: str, folder: Path) -> None:
    """Write adapters with different weights over `base`, which is unchanged."""
    for i in range(FILES):
        model = adapt(base, method, head=["classifier"])
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.normal_(std=0.02)
        save_adapter(model, folder / str(i), card=TaskCard(task="classify", labels=["no", "yes"]))
        model.unload()


def loads(network, base, folder: Path, method: str, counts: list[int]):
    host = Host(copied(network), slots=max(counts) + 1, slot_capacity=method)
    theirs, peft_ms = None, "-"
    for count in sorted(counts):
        for i in range(len(host.names()), count):
            host.load(f"a{i}", folder / str(i % FILES))
        ours = [timed(lambda i=i: host.load("new", folder / str(i % FILES))) for i in range(15)]
        host.unload("new")
        if count <= 64:
            theirs, peft_ms = peft_load(theirs, base, folder, count)
        names = host.names()
        chosen = []
        for _ in range(50):
            picked = [random.choice(names) for _ in range(32)]
            chosen.append(timed(lambda picked=picked: choose(host, picked)))
        shown = f"{peft_ms:.0f}" if count <= 64 else "not run"
        yield f"{count} | {statistics.median(ours):.1f} | {shown} | {statistics.median(chosen):.3f}"


def choose(host: Host, names: list[str]) -> None:
    """From names to a batch."""
    admitted = {name: host.slots.admit(name) for name in dict.fromkeys(names)}
    loaded_adapters = sorted((admitted[name] for name in names), key=order)
    host._engine.choose(loaded_adapters)
    host.slots.release(admitted.values())


def peft_load(model, base, folder: Path, count: int):
    """PEFT with `count` adapters loaded, and the time of one more."""
    import peft

    model = model or peft.PeftModel.from_pretrained(
        BertForSequenceClassification(base.config), folder / "0", adapter_name="a0"
    )
    for i in range(len(model.peft_config), count):
        model.load_adapter(folder / str(i % FILES), f"a{i}")
    took = []
    for i in range(5):
        took.append(timed(lambda i=i: model.load_adapter(folder / str(i % FILES), "new")))
        model.delete_adapter("new")
    return model, statistics.median(took)


def memory(network, folder: Path, many: int) -> str:
    """The bytes of slots and heads, and the growth of the process."""
    network = copied(network).bfloat16()
    gc.collect()
    process = psutil.Process()
    before = process.memory_info().rss
    host = Host(network, slots=many, slot_capacity=METHODS["q,v"])
    began = time.perf_counter()
    for i in range(many):
        host.load(f"a{i}", folder / str(i % FILES))
    took = time.perf_counter() - began
    grown = process.memory_info().rss - before
    stats = host.stats()["bytes"]
    slots, heads = stats["slots"] / 1e9, stats["heads"] / 1e9
    return (
        f"slots {slots:.3f} GB, heads {heads:.4f} GB; the process grew by {grown / 1e9:.3f} GB "
        f"in {took:.1f} s"
    )


def copied(network):
    import copy

    return copy.deepcopy(network)


def timed(action) -> float:
    began = time.perf_counter()
    action()
    return (time.perf_counter() - began) * 1000


if __name__ == "__main__":
    main()
