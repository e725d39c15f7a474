"""Every architecture that transformers builds small and whose sites are found obeys the laws.

    python -m tests.laws.architectures                     # all of them, all methods; the list
    python -m tests.laws.architectures mpnet granite       # these

For each method: a step trains every weight of the adapter and none of the base, a second adapter
goes beside it, a linear change is the same when it is merged, and what was saved gives the same
outputs in a new process. Where a method does not apply, the message says why.
"""

from __future__ import annotations

import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers.utils import logging

from adaptkit import AdaptkitError, adapt, find_sites, load_adapter, save_adapter
from tests.helpers.architectures import (
    KINDS,
    NotBuiltError,
    small_batch,
    small_model,
    tensors_of,
)
from tests.processes import start
from tests.tiny import randomize

METHODS = (
    "lora[r=2]",
    "bottleneck[reduction=4,activation=gelu]",
    "prefix[length=2]",
    "ia3",
    "bias",
    "reft[r=2]",
    "miss[r=3]",
    "vera[r=4]",
)
PREFIX = "base_model.model."
MERGED = ("lora[r=2]", "ia3", "bias", "miss[r=3]", "vera[r=4]")
ACROSS = 20  # architectures whose adapters one new process loads


@dataclass
class Outcome:
    """What was found about one architecture."""

    kind: str
    status: str = "passed"  # or not built, refused, failed
    why: str = ""
    methods: dict[str, str] = field(default_factory=dict)  # method -> "ok" or why it does not apply


def examine(kind: str, folder: Path, methods: Iterable[str]) -> Outcome:
    """Train and save an adapter of each method below `folder`, with the outputs expected of it."""
    outcome = Outcome(kind)
    try:
        model = small_model(kind)
        batch = small_batch(model)
    except NotBuiltError as problem:
        return Outcome(kind, "not built", str(problem))
    try:
        find_sites(model)
    except AdaptkitError as problem:
        return Outcome(kind, "refused", str(problem).splitlines()[0])
    unused: tuple[str, ...] = ()
    for method in methods:
        try:
            unused = unused or _unused(model, batch)
            outcome.methods[method] = _law(model, batch, unused, method, folder / kind / method)
        except Exception as problem:
            outcome.status = "failed"
            outcome.methods[method] = f"{type(problem).__name__}: {problem}"[:400]
            model, unused = small_model(kind).requires_grad_(False), ()
    return outcome


def _law(
    model: Any, batch: dict[str, Any], unused: tuple[str, ...], method: str, folder: Path
) -> str:
    with torch.no_grad():
        alone = tensors_of(model(**batch))
    try:
        adapted = adapt(model, method, head=[])
    except AdaptkitError as problem:
        return str(problem)
    randomize(adapted, std=0.1)
    _train(adapted, batch, unused)
    adapt(adapted, "lora[r=1]" if method != "prefix[length=2]" else method, adapter_name="second")
    adapted.set_adapter("default")
    adapted.requires_grad_(False)  # as it is loaded: where weights train, torch adds up otherwise
    with torch.no_grad():
        expected = tensors_of(adapted.eval()(**batch))
    assert not all(map(torch.equal, expected, alone)), "the adapter changes nothing"
    folder.mkdir(parents=True)
    save_adapter(adapted, folder)
    torch.save({"batch": batch, "expected": expected}, folder / "expected.pt")
    if method in MERGED:
        adapted.merge_adapter(["default"])
        with torch.no_grad():
            for merged, apart in zip(tensors_of(adapted(**batch)), expected, strict=True):
                torch.testing.assert_close(merged, apart, atol=1e-4, rtol=1e-3)
        adapted.unmerge_adapter()
    adapted.unload()
    with torch.no_grad():
        assert all(map(torch.equal, tensors_of(model(**batch)), alone)), "unload leaves traces"
    return "ok"


def _backward(model: Any, batch: dict[str, Any]) -> None:
    """The gradients of a random sum of all outputs."""
    generator = torch.Generator().manual_seed(2)
    outputs = [one for one in tensors_of(model(**batch)) if one.requires_grad]
    sum((one * torch.randn(one.shape, generator=generator)).sum() for one in outputs).backward()


def _unused(model: Any, batch: dict[str, Any]) -> tuple[str, ...]:
    """The modules whose weights nothing in the outputs depends on: an adapter there is idle."""
    model.requires_grad_(True)
    _backward(model, batch)
    weights = dict(model.named_parameters()).items()
    idle = [name for name, weight in weights if weight.grad is None or not weight.grad.any()]
    model.requires_grad_(False).zero_grad()
    return tuple(f"{name.rpartition('.')[0]}." for name in idle if name.endswith("weight"))


def _train(adapted: Any, batch: dict[str, Any], unused: tuple[str, ...]) -> None:
    """One step: it moves every weight of the adapter."""
    trained = {key: p for key, p in adapted.named_parameters() if p.requires_grad}
    buffers = {key: value.clone() for key, value in adapted.named_buffers()}
    before = {key: p.detach().clone() for key, p in trained.items()}
    _backward(adapted.train(), batch)
    torch.optim.AdamW(trained.values(), lr=0.01, weight_decay=0.0).step()
    still = [key for key, p in trained.items() if torch.equal(p, before[key])]
    still = [key for key in still if not key.removeprefix(PREFIX).startswith(unused)]
    assert not still, f"{len(still)} of {len(trained)} weights are not trained: {still[0]}"
    assert all("adaptkit_" in key for key in trained), "weights of the base train"
    moved = [key for key, value in adapted.named_buffers() if not _same(value, buffers[key])]
    assert not moved, f"buffers of the base move: {moved[0]}"


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.shape == other.shape and bool((one == other).logical_or(one != one).all())


def load_all(root: Path) -> None:
    """In a new process: load every adapter below `root` and compare its outputs."""
    for folder in sorted(path.parent for path in root.rglob("expected.pt")):
        kind, method = folder.relative_to(root).parts
        stored = torch.load(folder / "expected.pt", weights_only=True)
        try:
            loaded = load_adapter(folder, small_model(kind))
            with torch.no_grad():
                outputs = tensors_of(loaded(**stored["batch"]))
            for one, expected in zip(outputs, stored["expected"], strict=True):
                torch.testing.assert_close(one, expected, atol=1e-6, rtol=1e-5)
        except Exception as problem:
            print(f"{kind}\t{method}\t{type(problem).__name__}: {problem}".replace("\n", " ")[:400])


def examine_all(chosen: Mapping[str, Iterable[str]]) -> list[Outcome]:
    """The outcomes of architectures, each with its methods.

    What they saved is loaded by one new process.
    """
    with tempfile.TemporaryDirectory() as root:
        found = {kind: examine(kind, Path(root), methods) for kind, methods in chosen.items()}
        loading = start("-m", "tests.laws.architectures", "--load", root).wait()
        assert loading.returncode == 0, loading.stderr[-2000:]
    for line in loading.stdout.splitlines():
        kind, method, problem = line.split("\t")
        found[kind].status = "failed"
        found[kind].methods[method] = f"in a new process: {problem}"
    return list(found.values())


def describe(one: Outcome) -> str:
    """An architecture, the methods that it takes, and what went wrong."""
    lines = [f"{one.kind:32}{one.status:10}  {', '.join(_applied(one))}{one.why}"]
    if one.status == "failed":
        lines += [f"    {name}: {how}" for name, how in one.methods.items() if how != "ok"]
    return "\n".join(lines)


def _applied(one: Outcome) -> list[str]:
    return [name.split("[")[0] for name, how in one.methods.items() if how == "ok"]


def _counts(found: Iterable[Outcome]) -> str:
    """How many passed, and of those how many with each method."""
    counts = Counter(one.status for one in found)
    applied = Counter(name for one in found if one.status == "passed" for name in _applied(one))
    return (
        ", ".join(f"{count} {status}" for status, count in counts.most_common())
        + "\nof those that passed: "
        + ", ".join(f"{count} {name}" for name, count in applied.items())
    )


def main(arguments: list[str]) -> None:
    warnings.filterwarnings("ignore")
    logging.set_verbosity_error()
    if arguments[:1] == ["--load"]:
        load_all(Path(arguments[1]))
        return
    kinds, began = arguments or list(KINDS), time.perf_counter()
    found: list[Outcome] = []
    for first in range(0, len(kinds), ACROSS):
        found += examine_all(dict.fromkeys(kinds[first : first + ACROSS], METHODS))
        print(*map(describe, found[first:]), sep="\n", flush=True)
    print(_counts(found))
    print(f"{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main(sys.argv[1:])
