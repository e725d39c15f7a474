"""A service under mixed load for minutes: is every answer right, is any lost, does memory grow?

    python benchmarks/serve_soak.py [--minutes 10] [--clients 32] [--ray]

MiniLM, 24 LoRA classifiers in 16 slots. Clients ask one to four adapters a request and compare
label and probability with what each adapter says alone; one request of ten is wrong in some way and
has to be refused, and one of twenty hangs up. Meanwhile an administrator loads, replaces and
unloads three more adapters, whose answers have to be those of one of two versions, or a 404.
With --ray there are two replicas in processes of their own, and one is killed every two minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import re
import shutil
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
from serve import ENVIRONMENT, FILES, Serving, make_store

ADMIN = "soak-admin-key"
KEPT, SWAPPED, TEXTS = 24, 3, 20
BAD: list[dict[str, Any]] = [
    {"model": "a999", "input": "x"},
    {"model": "a1", "input": ""},
    {"model": "a1", "input": [1]},
    {"model": "a1"},
    {"model": "a1", "input": ["x"] * 300},
    {"model": ["a1", "a2"], "input": ["x"] * 3},
]


class Soak:
    """The clients of one service, what they expect, and what they count."""

    def __init__(self, url: str, expected: dict[tuple[int, int], dict], texts: list[str]):
        self.address = url.removeprefix("http://").split(":")
        self.expected, self.texts = expected, texts
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []

    async def client(self, draw: random.Random, end: float) -> None:
        connection = await self._connect()
        while time.perf_counter() < end:
            kind = draw.random()
            if kind < 0.05:
                await self._hang_up(draw)
                continue
            body, rows = (draw.choice(BAD), []) if kind < 0.15 else self._request(draw)
            try:
                status, found = await _ask(connection, "/v1/answer", body)
            except (OSError, asyncio.IncompleteReadError) as problem:
                self._fault("lost", f"{problem!r}")
                connection = await self._connect()
                continue
            self.counts[f"status {status}"] += 1
            if rows:
                self._compare(rows, status, found)
            elif status not in (400, 404, 413):
                self._fault("not refused", f"{status} {body}")
        connection[1].close()

    def _request(self, draw: random.Random) -> tuple[dict, list[tuple[str, int]]]:
        names = [f"a{i}" for i in range(KEPT)] + [f"swap{i}" for i in range(SWAPPED)]
        rows = [(draw.choice(names), draw.randrange(TEXTS)) for _ in range(draw.randint(1, 4))]
        model, given = [name for name, _ in rows], [self.texts[text] for _, text in rows]
        return {"model": model, "input": given}, rows

    def _compare(self, rows: list[tuple[str, int]], status: int, found: dict) -> None:
        if status != 200:
            if status != 404 or not any(name.startswith("swap") for name, _ in rows):
                self._fault("refused", f"{status} {found}")
            return
        for (name, text), answer in zip(rows, found["answers"], strict=True):
            swapped = name.startswith("swap")
            own = (0, 1) if swapped else (int(name[1:]) % FILES,)
            right = any(
                answer["label"] == self.expected[one, text]["label"]
                and abs(answer["score"] - self.expected[one, text]["score"]) < 1e-4
                for one in own
            )
            self.counts["rows"] += 1
            if not right:
                self._fault("wrong answer", f"{name} {text} {answer}")

    async def _hang_up(self, draw: random.Random) -> None:
        """Ask, and leave before the answer."""
        _, writer = await self._connect()
        writer.write(_request("/v1/answer", self._request(draw)[0]))
        await asyncio.sleep(draw.random() / 10)
        writer.close()
        self.counts["hung up"] += 1

    async def administrator(self, draw: random.Random, end: float) -> None:
        connection = await self._connect()
        while time.perf_counter() < end:
            name = f"swap{draw.randrange(SWAPPED)}"
            if draw.random() < 0.2:
                status, _ = await _ask(connection, "/v1/unload_lora_adapter", {"lora_name": name})
            else:
                load = {"lora_name": name, "lora_path": f"v{draw.randrange(2)}"}
                load["load_inplace"] = True
                status, _ = await _ask(connection, "/v1/load_lora_adapter", load)
            self.counts[f"administered {status}"] += 1
            await asyncio.sleep(0.1)

    async def killer(self, process: psutil.Process, end: float) -> None:
        """Kill a replica from time to time."""
        while (left := end - time.perf_counter()) > 90:
            await asyncio.sleep(min(120, left - 60))
            replicas = workers(process)
            replicas[0].kill()
            self.counts["killed"] += 1

    def _fault(self, kind: str, what: str) -> None:
        self.counts[kind] += 1
        self.wrong.append(f"{kind}: {what}"[:300])

    async def _connect(self) -> Any:
        return await asyncio.open_connection(self.address[0], int(self.address[1]))


def workers(process: psutil.Process) -> list[psutil.Process]:
    """The replicas below the process of the service, the oldest first; none without Ray."""
    found = []
    for one in process.children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if "Replica:adaptkit:Replica" in " ".join(one.cmdline()):
                found.append(one)
    return sorted(found, key=psutil.Process.create_time)


def memory_of(process: psutil.Process) -> float:
    """MB of the server, or of its replicas together."""
    found = 0
    for one in workers(process) or [process]:
        with contextlib.suppress(psutil.Error):
            found += one.memory_info().rss
    return found / 1e6


def _request(path: str, body: dict) -> bytes:
    data = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {ADMIN}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
    return head.encode() + data


async def _ask(connection: Any, path: str, body: dict) -> tuple[int, Any]:
    reader, writer = connection
    writer.write(_request(path, body))
    head = await reader.readuntil(b"\r\n\r\n")
    size = int(re.search(rb"content-length: (\d+)", head, re.I)[1])  # type: ignore[index]
    return int(head.split()[1]), json.loads(await reader.readexactly(size))


async def run(url: str, process: psutil.Process, given: argparse.Namespace) -> Soak:
    """Load for so many minutes; prints the memory of the server each half of a minute."""
    draw = random.Random(0)
    words = ["parcel", "lamp", "broke", "late", "refund", "thanks", "order", "tent", "please"]
    texts = [" ".join(draw.choices(words, k=draw.randint(2, 30))) for _ in range(TEXTS)]
    soak = Soak(url, {}, texts)
    connection = await soak._connect()
    for file in range(FILES):
        _, found = await _ask(connection, "/v1/answer", {"model": f"a{file}", "input": texts})
        soak.expected |= {(file, i): one for i, one in enumerate(found["answers"])}
    start = time.perf_counter()
    end = start + 60 * given.minutes
    everybody = [soak.client(random.Random(i), end) for i in range(given.clients)]
    killing = [soak.killer(process, end)] if given.ray else []
    administrator = soak.administrator(random.Random(-1), end)
    working = asyncio.gather(*everybody, administrator, *killing)
    print("| minute | memory of the server, MB | rows |\n|---|---|---|")
    while not working.done():
        memory = memory_of(process)
        minute = (time.perf_counter() - start) / 60
        print(f"| {minute:.1f} | {memory:,.0f} | {soak.counts['rows']:,} |", flush=True)
        await asyncio.wait({working}, timeout=30)
    await working
    return soak


def main() -> None:
    """Print the memory by minute, the counts, and every fault."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--ray", action="store_true")
    given = parser.parse_args()
    ENVIRONMENT["ADAPTKIT_ADMIN_KEY"] = ADMIN
    with tempfile.TemporaryDirectory() as folder:
        store, new = Path(folder) / "store", Path(folder) / "new"
        make_store(store, KEPT)
        for version in range(2):
            shutil.copytree(store / f"a{version}", new / f"v{version}")
        flags = ["--port", "0", "--slots", "16", "--adapter_folders", str(new)]
        flags += ["--ray", "--replicas", "2"] if given.ray else []
        serving = Serving("-m", "adaptkit", "serve", str(store), *flags)
        with serving as url:
            soak = asyncio.run(run(url, psutil.Process(serving.process.pid), given))
        print(f"exit code {serving.process.returncode}; cores {os.cpu_count()}")
    print(dict(sorted(soak.counts.items())))
    print("\n".join(soak.wrong[:20]) or "no fault")


if __name__ == "__main__":
    main()
