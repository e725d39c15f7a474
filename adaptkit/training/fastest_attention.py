"""Measure before training which attention implementation trains fastest on this machine.

On CPUs the backward pass of fused attention can take half of a step at short lengths, where plain
attention takes little; at long lengths plain attention writes more than fused attention saves. The
break-even point depends on the machine and the dtype.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from adaptkit.utils.atomic_files import new_file
from adaptkit.utils.json_files import read_json, write_json

FILE = "attention.json"  # in the output folder: a resumed run must compute as it began

CLEARLY = 1.1  # below this advantage plain attention is used, so that noise does not decide

WORK = 8 * 128**2  # rows times tokens squared to measure with: a third of a second

MOST_SCORES = 2e9  # bytes of attention scores that a backward pass may keep


@dataclass(frozen=True)
class Shape:
    """Attention in training: `rows` per batch, `tokens` of a long row, and the model's sizes."""

    rows: int
    tokens: int
    heads: int
    width: int
    layers: int

    @classmethod
    def of(cls, config: Any, rows: int, tokens: int) -> Shape:
        """The shape for a model's configuration."""
        config = config.get_text_config()
        heads = config.num_attention_heads
        width = (
            getattr(config, "head_dim", None)
            or getattr(config, "d_kv", None)
            or config.hidden_size // heads
        )
        return cls(rows, tokens, heads, width, config.num_hidden_layers)

    @property
    def few(self) -> int:
        """The number of rows to measure with."""
        return max(1, min(self.rows, WORK // self.tokens**2))

    def scores(self, itemsize: int) -> int:
        """Bytes of the attention scores of all layers."""
        return self.layers * self.rows * self.heads * self.tokens**2 * itemsize


def eager_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attention as in transformers' "eager"; `(rows, heads, tokens, width)`."""
    return torch.softmax(query @ key.mT * query.shape[-1] ** -0.5, -1) @ value


KINDS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "eager": eager_attention,
    "sdpa": F.scaled_dot_product_attention,
}


def measure(shape: Shape, dtype: torch.dtype, rounds: int = 3) -> dict[str, float]:
    """Milliseconds of a forward and backward pass of each kind, for a few rows.

    The kinds alternate; the best of some rounds counts.
    """
    size = (shape.few, shape.heads, shape.tokens, shape.width)
    generator = torch.Generator().manual_seed(0)
    inputs = [torch.randn(size, generator=generator).to(dtype).requires_grad_() for _ in range(3)]
    times = {name: float("inf") for name in KINDS}
    for turn in range(rounds + 1):
        for name, attend in KINDS.items():
            began = time.perf_counter()
            attend(*inputs).sum().backward()
            if turn:
                times[name] = min(times[name], (time.perf_counter() - began) * 1000)
    return times


@dataclass(frozen=True)
class AttentionChoice:
    """The attention to train with, `eager` or `sdpa`, and the reason."""

    name: str
    why: str


def fastest_attention(shape: Shape, dtype: torch.dtype) -> AttentionChoice:
    """The fastest attention to train with on a CPU."""
    if shape.scores(dtype.itemsize) > MOST_SCORES:
        kept = f"{shape.scores(dtype.itemsize) / 1e9:.1f} GB"
        return AttentionChoice("sdpa", f"the plain one would keep {kept} of scores")
    times = measure(shape, dtype)
    shown = ", ".join(f"{name} {value:.2g} ms" for name, value in times.items())
    name = "sdpa" if times["eager"] > CLEARLY * times["sdpa"] else "eager"
    rows = f"{shape.few} rows of {shape.tokens} tokens"
    return AttentionChoice(name, f"forward and backward of {rows} here: {shown}")


def keep_choice(folder: Path, choice: AttentionChoice) -> None:
    """Write a choice to the output folder of a training."""
    with new_file(folder / FILE) as staged:
        write_json(staged, {"attention": choice.name, "why": choice.why})


def earlier_choice(folder: Path) -> AttentionChoice | None:
    """The choice that a training in this folder started with, or None if unknown."""
    if not (folder / FILE).is_file():
        return None
    stored = read_json(folder / FILE)
    return AttentionChoice(stored["attention"], stored["why"])
