"""The service under load, beside `Host` called directly and what people build themselves.

    python benchmarks/serve.py [throughput names many] [--seconds 8] [--tokens 16 128]

MiniLM with LoRA classifiers (r 8, 4 labels, random weights). Each server is a process with one
thread of torch; clients are another process, with connections that stay open and send the next
request when the last is answered.

throughput: rows a second of `Host` (captured, as in the service) called with batches of 32 rows, of
`adaptkit serve` with 1 and 32 adapters, of a FastAPI application around transformers' pipeline, and
of one around ONNX Runtime (both one merged model, fp32). names: 1,024 adapters, asked for by Zipf's
law, 32 slots. many: the latency of requests for 10 adapters in a store of 10, and of 10,000.
"""

import argparse
import asyncio
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

BASE, FILES, BATCH = "all-MiniLM-L6-v2", 8, 32
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
HERE = Path(__file__).resolve()


@dataclass(frozen=True)
class Load:
    """Requests from so many connections: path, bodies to choose from, rows in each."""

    url: str
    path: str
    bodies: list[bytes]
    rows: int
    connections: int
    seconds: float


# Clients


def measure(load: Load) -> dict[str, float]:
    """Rows a second, and milliseconds of requests, by clients in a process of their own."""
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(_measure, (load,))


def _measure(load: Load) -> dict[str, float]:
    return asyncio.run(_all(load))


async def _all(load: Load) -> dict[str, float]:
    took: list[float] = []
    start = time.perf_counter()
    warm, end = start + 1.5, start + 1.5 + load.seconds
    await asyncio.gather(
        *(_client(load, random.Random(i), warm, end, took) for i in range(load.connections))
    )
    cuts = statistics.quantiles(took, n=100)
    return {
        "rows": len(took) * load.rows / load.seconds,
        "p50": 1e3 * cuts[49],
        "p95": 1e3 * cuts[94],
        "p99": 1e3 * cuts[98],
    }


async def _client(load: Load, draw: random.Random, warm: float, end: float, took: list) -> None:
    address, port = load.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(address, int(port))
    while (start := time.perf_counter()) < end:
        body = draw.choice(load.bodies)
        writer.write(
            f"POST {load.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        head = await reader.readuntil(b"\r\n\r\n")
        size = int(re.search(rb"content-length: (\d+)", head, re.I)[1])
        answer = await reader.readexactly(size)
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(answer.decode())
        now = time.perf_counter()
        if warm <= now <= end:
            took.append(now - start)
    writer.close()


# Servers


class Serving:
    """A server process, while the block runs."""

    def __init__(self, *words: str):
        self.words = words

    def __enter__(self) -> str:
        self.process = subprocess.Popen(
            [sys.executable, *self.words],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=ENVIRONMENT,
        )
        said = ""
        for line in self.process.stdout:
            said += line
            if found := re.search(r"http://[\d.]+:\d+", line):
                return found[0]
        raise RuntimeError(said)

    def __exit__(self, *_) -> None:
        self.process.terminate()
        self.process.communicate()


def ours(store: Path, *flags: str) -> Serving:
    return Serving("-m", "adaptkit", "serve", str(store), "--port", "0", *flags)


def direct(store: Path, tokens: int, names: list[str], seconds: float) -> float:
    """Rows a second of `Host` with full batches, in a process of its own."""
    words = [str(HERE), "--direct", str(store), str(tokens), str(len(names)), str(seconds)]
    done = subprocess.run(
        [sys.executable, *words], env=ENVIRONMENT, check=True, capture_output=True, text=True
    )
    return float(done.stdout.split()[-1])


def run_direct(store: str, tokens: str, count: str, seconds: str) -> None:
    """What `direct` runs."""
    from adaptkit import Host

    host = Host.from_store(store, capture=True)
    names = [f"a{i % int(count)}" for i in range(BATCH)]
    rows = [text(int(tokens))] * BATCH
    host(rows, names)
    start, batches = time.perf_counter(), 0
    while time.perf_counter() < start + float(seconds):
        host(rows, names)
        batches += 1
    print(batches * BATCH / (time.perf_counter() - start))


def run_other(kind: str, folder: str) -> None:
    """The application around a pipeline, or around ONNX Runtime, as one would write it."""
    import threading

    import uvicorn
    from fastapi import FastAPI

    from adaptkit.serve.server import make_server
    from adaptkit.serve.settings import ServeSettings
    from adaptkit.serve.sockets import listen

    ask = pipeline_of(folder) if kind == "pipeline" else onnx_of(folder)
    app, lock = FastAPI(), threading.Lock()

    @app.post("/predict")
    def predict(body: dict) -> list:
        with lock:
            return ask(body["inputs"])

    at = listen("127.0.0.1", 0)
    url = f"http://127.0.0.1:{at.getsockname()[1]}"
    server = make_server(app, ServeSettings(), lambda: print(url, flush=True))
    assert isinstance(server, uvicorn.Server)
    server.run([at])


def pipeline_of(folder: str):
    from transformers import pipeline

    pipe = pipeline("text-classification", folder, device="cpu")
    return lambda texts: pipe(texts, batch_size=BATCH)


def onnx_of(folder: str):
    import numpy as np
    import onnxruntime
    from transformers import AutoConfig, AutoTokenizer

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(Path(folder) / "model.onnx"), options)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    labels = AutoConfig.from_pretrained(folder).id2label
    known = {one.name for one in session.get_inputs()}

    def ask(texts: list[str]) -> list[dict]:
        inputs = tokenizer(texts, padding=True, truncation=True, return_tensors="np")
        logits = session.run(None, {n: v for n, v in inputs.items() if n in known})[0]
        shares = np.exp(logits - logits.max(-1, keepdims=True))
        shares /= shares.sum(-1, keepdims=True)
        best = logits.argmax(-1)
        return [
            {"label": labels[int(i)], "score": float(row[i])}
            for i, row in zip(best, shares, strict=True)
        ]

    return ask


# Stores


def text(tokens: int) -> str:
    """A text of so many tokens, with the two at its ends."""
    return " ".join(["parcel"] * (tokens - 2))


def make_store(folder: Path, count: int) -> None:
    """A store of so many adapters; beyond the first ones they are links to their files."""
    import torch

    from adaptkit import TaskCard, adapt, load_base, save_adapter

    for i in range(min(count, FILES)):
        model = adapt(load_base(BASE, task="classify", labels=list("abcd")), "lora[r=8]")
        torch.manual_seed(i)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.normal_(std=0.02)
        card = TaskCard(task="classify", labels=list("abcd"), columns={"text": "text"})
        save_adapter(model, folder / f"a{i}", card=card)
    for i in range(FILES, count):
        (folder / f"a{i}").mkdir()
        for file in (folder / f"a{i % FILES}").iterdir():
            os.link(file, folder / f"a{i}" / file.name)


def bodies(names: list[str], rows: int, tokens: int) -> list[bytes]:
    """Requests whose rows go to these adapters in turn."""
    found = []
    for start in range(len(names)):
        model = [names[(start + i) % len(names)] for i in range(rows)]
        found.append(json.dumps({"model": model, "input": [text(tokens)] * rows}).encode())
    return found


# Tables


def throughput(folder: Path, given: argparse.Namespace) -> None:
    make_store(folder / "store", 32)
    for kind in ("pipeline", "onnx"):
        flags = ["--format", "onnx"] if kind == "onnx" else []
        words = ["export", str(folder / "store/a0"), "--output_dir", str(folder / kind), *flags]
        subprocess.run(
            [sys.executable, "-m", "adaptkit", *words], check=True, stdout=subprocess.DEVNULL
        )
    print("| server | tokens | adapters | rows/request | rows/s | of Host | p50 ms | p95 | ratio |")
    print("|---|---|---|---|---|---|---|---|---|")
    for tokens in given.tokens:
        for count in (1, 32):
            names = [f"a{i}" for i in range(count)]
            host = direct(folder / "store", tokens, names, given.seconds)
            print(f"| Host, batches of {BATCH} | {tokens} | {count} | | {host:,.0f} | 1 | | | |")
            for rows in (1, 8, 32):
                with ours(folder / "store") as url:
                    load = Load(
                        url,
                        "/v1/answer",
                        bodies(names, rows, tokens),
                        rows,
                        max(3, 3 * BATCH // rows),
                        given.seconds,
                    )
                    row("adaptkit serve", tokens, count, rows, measure(load), host)
        for kind in ("pipeline", "onnx"):
            for rows in (1, 32):
                with Serving(str(HERE), "--other", kind, str(folder / kind)) as url:
                    body = json.dumps({"inputs": [text(tokens)] * rows}).encode()
                    load = Load(url, "/predict", [body], rows, max(3, 96 // rows), given.seconds)
                    row(f"{kind} behind FastAPI", tokens, 1, rows, measure(load), host)


def row(server: str, tokens: int, adapters: int, rows: int, found: dict, host: float) -> None:
    print(
        f"| {server} | {tokens} | {adapters} | {rows} | {found['rows']:,.0f} | "
        f"{found['rows'] / host:.2f} | {found['p50']:.0f} | {found['p95']:.0f} | "
        f"{found['p95'] / found['p50']:.2f} |",
        flush=True,
    )


def zipf(folder: Path, given: argparse.Namespace) -> None:
    make_store(folder / "zipf", 1024)
    draw = random.Random(0)
    shares = [1 / (i + 1) for i in range(1024)]
    names = draw.choices([f"a{i}" for i in range(1024)], shares, k=20_000)
    found = [json.dumps({"model": n, "input": text(given.tokens[0])}).encode() for n in names]
    print("| slots | requests/s | p50 ms | p95 | p99 |\n|---|---|---|---|---|")
    for slots in (32, 256):
        with ours(folder / "zipf", "--slots", str(slots)) as url:
            one = measure(Load(url, "/v1/answer", found, 1, 32, given.seconds))
        print(
            f"| {slots} | {one['rows']:,.0f} | {one['p50']:.1f} | {one['p95']:.1f} | "
            f"{one['p99']:.1f} |",
            flush=True,
        )


def many(folder: Path, given: argparse.Namespace) -> None:
    names = [f"a{i}" for i in range(10)]
    print("| adapters in the store | requests/s | p50 ms | p95 |\n|---|---|---|---|")
    for count in (10, 10_000):
        make_store(folder / f"many-{count}", count)
    rounds: dict[int, list[dict]] = {10: [], 10_000: []}
    for _ in range(3):
        for count, found in rounds.items():
            with ours(folder / f"many-{count}", "--slots", "16") as url:
                requests = bodies(names, 1, given.tokens[0])
                found.append(measure(Load(url, "/v1/answer", requests, 1, 4, given.seconds)))
    for count, found in rounds.items():
        shown = [statistics.median(one[key] for one in found) for key in ("rows", "p50", "p95")]
        print(f"| {count:,} | {shown[0]:,.0f} | {shown[1]:.2f} | {shown[2]:.2f} |")


def main() -> None:
    """Print the tables that are asked for."""
    if sys.argv[1:2] == ["--direct"]:
        run_direct(*sys.argv[2:])
        return
    if sys.argv[1:2] == ["--other"]:
        run_other(*sys.argv[2:])
        return
    tables = {"throughput": throughput, "names": zipf, "many": many}
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tables", nargs="*", choices=[*tables, []], default=[*tables])
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--tokens", type=int, nargs="+", default=[16, 128])
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for name in given.tables:
            tables[name](Path(folder), given)


if __name__ == "__main__":
    main()
