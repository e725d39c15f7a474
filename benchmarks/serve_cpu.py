"""Rows a second of a host on a CPU beside the base alone and ONNX Runtime, in one process.

    ADAPTKIT_DATA=... python benchmarks/serve_cpu.py [--method METHOD] [--adapters 1 8 32]

MiniLM with a classifier of 4 labels, one thread, fp32, bf16 and int8; texts of made-up words,
tokenizing included. `host` runs the base's modules, `captured` a captured network; every row has
the next of the adapters. torch and ONNX Runtime (fp32, and int8 quantized on the fly) run one
merged adapter. Alternatives take turns in one process; printed are medians, as speed over torch in
fp32. ONEDNN_MAX_CPU_ISA=AVX512_CORE_VNNI shows what a processor without AMX and bf16 would.
"""

import argparse
import functools
import random
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import adaptkit
from adaptkit.adapters.export import export as export_merged
from adaptkit.models.names import resolve

BASE, LABELS = "all-MiniLM-L6-v2", ["a", "b", "c", "d"]
WORDS = ("one", "two", "three", "red", "blue", "green", "money", "time", "word", "house", "river")
MIXED = (8, 10, 12, 15, 18, 20, 22, 25, 28, 32, 38, 45, 60, 90, 128)
SHAPES = [(rows, length) for rows in (1, 8, 32) for length in (16, 64, 128, "mixed")]


def make_store(folder: Path, method: str, count: int) -> None:
    model = adaptkit.adapt(adaptkit.load_base(BASE, task="classify", labels=LABELS), method)
    for number in range(count):
        generator = torch.Generator().manual_seed(number)
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data.normal_(0, 0.02, generator=generator)
        card = adaptkit.TaskCard(task="classify", labels=LABELS, max_length=512)
        adaptkit.save_adapter(model, folder / f"a{number:02}", card=card)


def texts(rows: int, length: int | str) -> list[str]:
    draw = random.Random(rows)
    lengths = [draw.choice(MIXED) if length == "mixed" else int(length) for _ in range(rows)]
    return [" ".join(draw.choices(WORDS, k=one - 2)) for one in lengths]


class Merged:
    """A whole model of its own, asked for logits."""

    def __init__(self, run):
        self.run, self.tokenizer = run, AutoTokenizer.from_pretrained(resolve(BASE))

    def __call__(self, rows: list[str]) -> None:
        given = self.tokenizer(rows, padding=True, truncation=True, return_tensors="np")
        self.run({name: given[name] for name in ("input_ids", "attention_mask")})


def in_torch(folder: Path, dtype: torch.dtype) -> Merged:
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=dtype).eval()

    @torch.inference_mode()
    def run(given):
        model(**{name: torch.from_numpy(ids) for name, ids in given.items()})

    return Merged(run)


def in_onnx(file: Path) -> Merged:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(file, options)
    return Merged(
        lambda given: session.run(None, {k: v.astype(np.int64) for k, v in given.items()})
    )


def to_onnx(folder: Path, place: Path) -> tuple[Path, Path]:
    """One model in ONNX, in fp32 and in int8."""
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    names, ids = ["input_ids", "attention_mask"], torch.ones(2, 8, dtype=torch.long)
    plain, small = place / "model.onnx", place / "int8.onnx"
    axes = {name: {0: "rows", 1: "tokens"} for name in names}
    torch.onnx.export(
        model, (ids, ids), str(plain), input_names=names, dynamic_axes=axes, dynamo=False
    )
    quantize_dynamic(plain, small, weight_type=QuantType.QInt8, per_channel=True)
    return plain, small


def measure(ways: dict, seconds: float, rounds: int) -> dict[str, float]:
    """Median seconds of a call; the ways take turns."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            way()
            start, calls = time.perf_counter(), 0
            while time.perf_counter() - start < seconds:
                way()
                calls += 1
            found[name].append((time.perf_counter() - start) / calls)
    return {name: statistics.median(times) for name, times in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--method", default="lora[r=8,sites=attn.q|attn.v]")
    parser.add_argument("--adapters", type=int, nargs="+", default=[32])
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(1)
    place = Path(tempfile.mkdtemp())
    make_store(place / "store", given.method, max(given.adapters))
    merged = place / "merged"
    export_merged(place / "store" / "a00", merged)
    plain, small = to_onnx(merged, place)
    alone = {
        "torch fp32": in_torch(merged, torch.float32),
        "torch bf16": in_torch(merged, torch.bfloat16),
        "onnx fp32": in_onnx(plain),
        "onnx int8": in_onnx(small),
    }
    hosts = {
        f"{way} {name}": adaptkit.Host.from_store(
            place / "store", slots=max(given.adapters), compute=compute, capture=way == "captured"
        )
        for name, compute in (("fp32", "float32"), ("bf16", "bfloat16"), ("int8", "int8"))
        for way in ("host", "captured")
        if (way, name) != ("host", "int8")
    }
    print(f"{given.method}, {torch.get_num_threads()} thread")
    head = ["rows", "tokens", "adapters", *alone, *hosts, "torch fp32, ms"]
    print("| " + " | ".join(head) + " |\n" + "|---" * len(head) + "|")
    for rows, length in SHAPES:
        asked = texts(rows, length)
        for count in given.adapters:
            names = [f"a{number % count:02}" for number in range(rows)]
            ways = {name: functools.partial(one, asked) for name, one in alone.items()}
            ways |= {name: functools.partial(one, asked, names) for name, one in hosts.items()}
            took = measure(ways, given.seconds, given.rounds)
            first = took["torch fp32"]
            speeds = [f"{first / one:.2f}" for one in took.values()]
            cells = [str(rows), str(length), str(min(count, rows)), *speeds, f"{first * 1000:.1f}"]
            print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
