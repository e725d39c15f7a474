"""What a host writes in a second, beside one merged model, and a queue of uneven requests.

    python benchmarks/host_writing.py [--base SmolLM2-135M-Instruct] [--rounds 5]

16 LoRA adapters (r 8 on queries and values, random weights) over one chat decoder, fp32, prompts of
the embedded corpus in the chat template, no end token. Together: 16 rows of 32 new tokens, each
with its own adapter, beside `generate` of the model with one of them merged, in turns. Queue: 64
requests, 16 at once; rows that end are replaced, beside batches of 16 whole requests in the order
of arrival, each as long as its longest (transformers' `generate`): of 4 to 128 new tokens, few more
often (the logarithm is drawn evenly), and of 4 to 96, drawn evenly. Medians of ratios; threads as
OMP_NUM_THREADS says.
"""

from __future__ import annotations

import argparse
import math
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from adaptkit import Host, adapt, load_base, load_tokenizer, save_adapter
from adaptkit.data.conversations.rendering import render
from adaptkit.data.corpus import load_corpus

ADAPTERS, NEW, QUEUE = 16, 32, 64
NO_END = {"eos_token_id": -1}
METHOD = "lora[sites=attn.q|attn.v]"


def save_adapters(base: str, folder: Path) -> list[str]:
    """Adapters of random weights."""
    model = adapt(load_base(base, task="AutoModelForCausalLM", dtype=torch.float32), METHOD)
    names = [f"a{i}" for i in range(ADAPTERS)]
    for name in names:
        for weight in model.parameters():
            if weight.requires_grad:
                torch.nn.init.normal_(weight, std=0.02)
        save_adapter(model, folder / name)
    return names


def seconds(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def padded(prompts: list[list[int]], pad: int) -> dict[str, torch.Tensor]:
    width = max(map(len, prompts))
    return {
        "input_ids": torch.tensor([[pad] * (width - len(ids)) + ids for ids in prompts]),
        "attention_mask": torch.tensor(
            [[0] * (width - len(ids)) + [1] * len(ids) for ids in prompts]
        ),
    }


def together(host: Host, merged: Any, prompts: list[list[int]], names: list[str]) -> float:
    """The host's speed as a share of that of the merged model."""
    inputs = padded(prompts, 0)
    exact = {"max_new_tokens": NEW, "min_new_tokens": NEW}
    theirs = seconds(lambda: merged.generate(**inputs, do_sample=False, pad_token_id=0, **exact))
    ours = seconds(lambda: host.generate(prompts, names, **exact))
    return theirs / ours


def even(draw: random.Random) -> int:
    return draw.randint(4, 96)


def mostly_short(draw: random.Random) -> int:
    return round(math.exp(draw.uniform(math.log(4), math.log(128))))


def queue(
    host: Host,
    prompts: list[list[int]],
    names: list[str],
    length: Callable[[random.Random], int],
) -> float:
    """How much less time continuous batches take than whole ones."""
    draw = random.Random(0)
    counts = [length(draw) for _ in range(QUEUE)]
    rows = [prompts[i % len(prompts)] for i in range(QUEUE)]
    mine = [names[i % len(names)] for i in range(QUEUE)]

    def whole() -> None:
        for start in range(0, QUEUE, ADAPTERS):
            part = slice(start, start + ADAPTERS)
            most = max(counts[part])  # `use_cache` leaves it to transformers' generate
            host.generate(rows[part], mine[part], max_new_tokens=most, **NO_END, use_cache=True)

    continuous = seconds(
        lambda: host.generate(rows, mine, max_new_tokens=counts, **NO_END, batch_size=ADAPTERS)
    )
    return seconds(whole) / continuous


def main() -> None:
    """Print both ratios."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--base", default="SmolLM2-135M-Instruct")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        names = save_adapters(given.base, Path(place))
        host = Host(given.base, slots=ADAPTERS, dtype=torch.float32)
        for name in names:
            host.load(name, Path(place) / name)
        merged = load_base(given.base, task="AutoModelForCausalLM", dtype=torch.float32).eval()
        merged.generation_config.eos_token_id = None
        tokenizer = load_tokenizer(given.base)
        talks = [[{"role": "user", "content": row["text"]}] for row in load_corpus()[:ADAPTERS]]
        texts = [render(tokenizer, talk, True) for talk in talks]
        prompts = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
        runs = {
            "16 adapters, share of a merged model's speed": lambda: together(
                host, merged, prompts, names
            ),
            "queue, 4 to 128 tokens, mostly few": lambda: queue(host, prompts, names, mostly_short),
            "queue, 4 to 96 tokens, evenly drawn": lambda: queue(host, prompts, names, even),
        }
        for what, run in runs.items():
            run()
            ratios = [run() for _ in range(given.rounds)]
            each = " ".join(f"{one:.2f}" for one in ratios)
            print(f"| {what} | {statistics.median(ratios):.2f} | {each} |", flush=True)


if __name__ == "__main__":
    main()
