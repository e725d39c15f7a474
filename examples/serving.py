"""What the applications share: train adapters once, serve them, ask them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

MOST = 200  # rows of a request


def train(store: Path, adapters: dict[str, list[str]], base: str) -> None:
    """Train the adapters that are not in the store yet; the first word of each is its recipe."""
    for name, (recipe, *flags) in adapters.items():
        if (store / name / "task.json").exists():
            continue
        words = ["train", recipe, "--model_name_or_path", base, *flags]
        out = ["--output_dir", str(store / name), "--overwrite_output_dir"]
        print(f"training {name} ...", flush=True)
        subprocess.run([sys.executable, "-m", "adaptkit", *words, *out], check=True, stdout=-3)


class Client:
    """Asks a service."""

    def __init__(self, url: str):
        self.url = url

    def post(self, path: str, **body: Any) -> Any:
        """The JSON that a route answers with."""
        request = urllib.request.Request(
            self.url + path, json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=120) as reply:
            return json.loads(reply.read())

    def answers(self, model: str, inputs: Sequence[Any], **more: Any) -> list[dict[str, Any]]:
        """An answer for each input."""
        found: list[dict[str, Any]] = []
        for start in range(0, len(inputs), MOST):
            part = list(inputs[start : start + MOST])
            found += self.post("/v1/answer", model=model, input=part, **more)["answers"]
        return found

    def vectors(self, model: str, texts: Sequence[str]) -> list[list[float]]:
        """A vector of length 1 for each text."""
        found = []
        for start in range(0, len(texts), MOST):
            part = list(texts[start : start + MOST])
            data = self.post("/v1/embeddings", model=model, input=part)["data"]
            found += [one["embedding"] for one in data]
        return found


@contextmanager
def service(store: Path) -> Iterator[Client]:
    """`adaptkit serve` over a store, on a free port, while the block runs."""
    words = [sys.executable, "-m", "adaptkit", "serve", str(store), "--port", "0"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if found := re.search(r"http://[^\s;]+", line):
                yield Client(found[0])
                return
        raise SystemExit(f"the service did not start (exit code {process.wait()})")
    finally:
        process.terminate()
        process.wait()
