"""Sixteen threads on one host: questions in every form, loads, replacements, and bad requests."""

import asyncio
import itertools
import shutil
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
import torch

from adaptkit import AdaptkitError, Host
from tests.host.store import TEXTS, make_store, quiet, weights

SECONDS = 4
BAD_ROWS = (5, None, {}, {"txt": "a"}, [["a"]], {"text": None}, b"bytes")


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """A tiny BERT and a store of six classifiers over it, of four methods."""
    root = tmp_path_factory.mktemp("threads")
    make_store(root)
    return root


class Crowd:
    """Threads that use one host until the time is over; whatever surprises is kept."""

    def __init__(self, host: Host, root: Path, folder: Path):
        self.host, self.root, self.folder = host, root, folder
        self.expected = {
            (name, number): host(TEXTS[number], name)[0]
            for name in ("a0", "a1", "a2", "a3", "a4", "a5", None)
            for number in range(4)
        }
        self.surprises: list = []
        self.counts: Counter[str] = Counter()
        self.until = time.monotonic() + SECONDS

    def run(self) -> None:
        """Start all, and wait for their end."""
        work = [self.ask] * 6 + [self.submit] * 2 + [self.read_states] * 2 + [self.ask_badly] * 3
        work += [self.load, self.replace, self.load_badly]
        threads = [
            threading.Thread(target=self._repeat, args=(one, number))
            for number, one in enumerate(work)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=120)
        assert not any(thread.is_alive() for thread in threads), "a thread hangs"

    def _repeat(self, work, seed: int) -> None:
        for turn in itertools.count(seed):
            if time.monotonic() > self.until:
                return
            try:
                work(turn)
                self.counts[work.__name__] += 1
            except BaseException as problem:
                self.surprises.append((work.__name__, repr(problem)))

    def _compare(self, name: str | None, number: int, answer) -> None:
        known = self.expected[name, number]
        if name is None:
            assert torch.allclose(answer.states, known.states, atol=1e-5)
        else:
            assert answer.label == known.label
            assert abs(answer.score - known.score) < 1e-5

    def ask(self, turn: int) -> None:
        names = [("a0", "a1", "a2", "a3", "a4", "a5", None)[(turn * k) % 7] for k in range(1, 5)]
        numbers = [(turn + k) % 4 for k in range(4)]
        answers = self.host([TEXTS[number] for number in numbers], names)
        for name, number, answer in zip(names, numbers, answers, strict=True):
            self._compare(name, number, answer)

    def submit(self, turn: int) -> None:
        name, number = f"a{turn % 6}", turn % 4
        self._compare(name, number, asyncio.run(self.host.submit(TEXTS[number], name)))

    def read_states(self, turn: int) -> None:
        inputs = {"input_ids": torch.tensor([[2, 7, 9, 3]])}
        states = self.host.hidden(inputs, [f"a{turn % 6}"])
        assert states.shape[:2] == (1, 4)
        assert states.isfinite().all()

    def ask_badly(self, turn: int) -> None:
        bad = BAD_ROWS[turn % len(BAD_ROWS)]
        for call in (
            lambda: self.host([bad], "a0"),
            lambda: self.host([TEXTS[0]], "nobody"),
            lambda: self.host([TEXTS[0]], ["a0", "a1"]),
            lambda: self.host.unload("nobody"),
        ):
            with pytest.raises(AdaptkitError):
                call()

    def load(self, turn: int) -> None:
        self.host.load("guest", self.root / f"store/a{turn % 6}")
        self.host.unload("guest")

    def replace(self, turn: int) -> None:
        self.host.load("a1", self.root / "store/a1")  # the same version again, in another slot

    def load_badly(self, turn: int) -> None:
        folder = Path(shutil.copytree(self.root / "store/a0", self.folder / f"bad{turn}"))
        weights(folder, lambda found: found.pop(sorted(found)[0]))
        with pytest.raises(AdaptkitError, match="lack|missing"):
            self.host.load("a0", folder)
        shutil.rmtree(folder)


def test_sixteen_threads_get_right_answers_or_refusals(root, tmp_path):
    capacity = ["lora[r=4]", "bottleneck[reduction=4]", "prefix[length=3]", "ia3"]
    with Host.from_store(root / "store", slots=5, slot_capacity=capacity) as host:
        crowd = Crowd(host, root, tmp_path)
        crowd.run()
        assert not crowd.surprises, crowd.surprises[:3]
        assert len(crowd.counts) == 7, crowd.counts
        assert quiet(host)
