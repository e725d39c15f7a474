"""Random input for everything that reads: it is read, or refused by an AdaptkitError, in 5 s.

python -m tests.trust.fuzz --minutes 30            in turns, with hypothesis
python -m tests.trust.guided grammar --minutes 10  one of them, led by coverage (atheris)
"""

from __future__ import annotations

import argparse
import json
import signal
import struct
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from safetensors.torch import save

from adaptkit.adapters.card import parse_card
from adaptkit.adapters.files import read_adapter, read_weights
from adaptkit.data.readers.options import Reading
from adaptkit.data.readers.read import FORMATS, read
from adaptkit.errors import AdaptkitError
from adaptkit.methods.grammar import describe_method, parse_method
from adaptkit.methods.registry import known_methods
from tests.trust.bounded import LONGEST_MESSAGE, MOST_SECONDS
from tests.trust.files import CONLL, CSV, JSONL, SEMEVAL, SQUAD

CARD = {
    "task": "classify",
    "labels": ["a", "b"],
    "method": "lora[r=4]",
    "columns": {"text": "t"},
    "settings": {"multi_label": False},
    "max_length": 64,
    "metrics": {"eval_accuracy": 0.5},
    "fingerprint": "1:float32:AAAAAAAAAAA=",
}
SETTINGS = {
    "peft_type": "LORA",
    "r": 4,
    "lora_alpha": 8,
    "target_modules": ["query", "value"],
    "modules_to_save": ["classifier"],
    "rank_pattern": {},
}
TENSORS = save({"base_model.model.q.lora_A.weight": torch.ones(4, 8), "head": torch.ones(3)})
EXAMPLES = [CSV, JSONL, CONLL, SEMEVAL, json.dumps(SQUAD), "a b\tc\n" * 5, "__label__a b\n" * 4]

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)
numbers = (
    st.integers().map(str) | st.floats().map(str) | st.sampled_from(["true", "1e999", "٣", "0x4"])
)
keys = st.sampled_from(
    ["r", "alpha", "scale", "sites", "layers", "gate", "dropout", "reduction", "length"]
)
ranges = st.from_regex(r"[0-9\-,*:|. a-z]{0,12}", fullmatch=True)
pairs = st.tuples(keys | st.text(max_size=6), numbers | ranges | st.text(max_size=8)).map("=".join)
terms = st.tuples(
    st.sampled_from(sorted(known_methods())) | st.text(max_size=8), st.lists(pairs, max_size=4)
)
grammatical = st.lists(terms.map(lambda term: f"{term[0]}[{','.join(term[1])}]"), max_size=4).map(
    "+".join
)


TARGETS: dict[str, Callable] = {}  # name -> makes a new test


def target(*inputs: st.SearchStrategy) -> Callable[[Callable], Callable]:
    """Register a function of random inputs."""

    def register(check: Callable) -> Callable:
        TARGETS[check.__name__] = lambda: given(*inputs)(check)
        return check

    return register


@contextmanager
def right_or_refused() -> Iterator[None]:
    """No exception but AdaptkitError passes; more than 5 s is a failure, also for what hangs."""

    def late(*_) -> None:
        raise TimeoutError(f"more than {MOST_SECONDS} s")

    before = signal.signal(signal.SIGPROF, late)
    signal.setitimer(signal.ITIMER_PROF, MOST_SECONDS)
    message = ""
    try:
        yield
    except AdaptkitError as problem:
        message = str(problem)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
    assert len(message) < LONGEST_MESSAGE, message[:300]


@st.composite
def damaged(draw, content: bytes) -> bytes:
    """Some bytes of `content` replaced, cut out or doubled."""
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(content)))
        end = min(len(content), start + draw(st.integers(0, 40)))
        middle = draw(st.sampled_from([b"", content[start:end] * 2]) | st.binary(max_size=20))
        content = content[:start] + middle + content[end:]
    return content


@target(st.text(max_size=200) | grammatical)
def grammar(text: str) -> None:
    """The grammar of methods: what is read is written as something that reads the same."""
    with right_or_refused():
        methods = parse_method(describe_method(parse_method(text), full=True))
        assert parse_method(describe_method(methods, full=True)) == methods


@target(st.dictionaries(st.sampled_from(sorted(CARD)) | st.text(max_size=8), values, max_size=4))
def card(changes: dict) -> None:
    """Task cards."""
    with right_or_refused():
        parse_card(json.dumps(CARD | changes).encode(), "folder")


@target(damaged(json.dumps(CARD).encode()) | st.binary(max_size=300))
def card_bytes(content: bytes) -> None:
    """Task cards that are damaged below their meaning."""
    with right_or_refused():
        parse_card(content, "folder")


@target(
    st.dictionaries(st.sampled_from(sorted(SETTINGS)) | st.text(max_size=8), values, max_size=4)
)
def peft_settings(changes: dict) -> None:
    """PEFT's settings, to the point where they meet a base."""
    with tempfile.TemporaryDirectory() as folder, right_or_refused():
        Path(folder, "adapter_config.json").write_text(json.dumps(SETTINGS | changes))
        Path(folder, "adapter_model.safetensors").write_bytes(TENSORS)
        read_adapter(folder).check_base("1:float32:AAAAAAAAAAA=", "base")


@target(damaged(TENSORS) | st.binary(max_size=300))
def weights(content: bytes) -> None:
    """Files of weights."""
    with right_or_refused():
        read_weights(Path("folder"), content, None)


@target(
    st.dictionaries(st.sampled_from(["q", "__metadata__"]), values, max_size=2),
    st.binary(max_size=64),
)
def weights_header(header: dict, data: bytes) -> None:
    """Files of weights with any header."""
    text = json.dumps(header).encode()
    with right_or_refused():
        read_weights(Path("folder"), struct.pack("<Q", len(text)) + text + data, None)


@target(
    st.sampled_from(EXAMPLES).flatmap(lambda text: damaged(text.encode()))
    | st.binary(max_size=300),
    st.sampled_from([".csv", ".tsv", ".json", ".jsonl", ".txt", ".conll", ".parquet", ""]),
    st.none() | st.sampled_from(sorted(set(FORMATS) - {"folder"})),
)
def rows(content: bytes, ending: str, format: str | None) -> None:
    """Files of rows, in a format that is named or found."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"rows{ending}")
        path.write_bytes(content)
        with right_or_refused():
            read(path, Reading(format=format))


def run(name: str, examples: int, number: int) -> None:
    """One target, with `examples` random inputs drawn from the seed `number`."""
    checks = list(HealthCheck)
    chosen = settings(
        max_examples=examples, deadline=None, database=None, suppress_health_check=checks
    )
    seed(number)(chosen(TARGETS[name]()))()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--examples", type=int, default=500, help="of one target, before the next")
    given = parser.parse_args()
    until, counts, number = time.monotonic() + 60 * given.minutes, Counter[str](), 0
    while time.monotonic() < until:
        for name in TARGETS:
            run(name, given.examples, number)
            counts[name] += given.examples
        number += 1
    print(f"{given.minutes} minutes, no failure:", ", ".join(f"{n} {c}" for n, c in counts.items()))


if __name__ == "__main__":
    main()
