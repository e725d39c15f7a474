"""Plain and fused attention when adapters train on a CPU in bf16.

    python benchmarks/attention.py [--tokens 24] [--rounds 7]

Milliseconds per step, interleaved, medians.
"""

import argparse
import os
import statistics
import time

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch

from adaptkit import adapt, load_base

METHODS = ("lora", "lora[sites=attn.q|attn.v]", "bottleneck", "prefix")
ROWS = 32


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tokens", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    ids = torch.randint(1000, 20000, (ROWS, given.tokens))
    mask = torch.ones_like(ids)
    mask[::3, -4:] = 0
    batch = {"input_ids": ids, "attention_mask": mask, "labels": torch.randint(0, 2, (ROWS,))}
    steps = {
        (method, kind): _stepper(method, kind, batch)
        for method in METHODS
        for kind in ("eager", "sdpa")
    }
    times: dict = {key: [] for key in steps}
    for turn in range(given.rounds + 1):
        for key, step in steps.items():
            began = time.perf_counter()
            step()
            if turn:
                times[key].append((time.perf_counter() - began) * 1000)
    print(
        f"| method ({ROWS} rows of {given.tokens} tokens) | eager, ms | sdpa, ms | sdpa / eager "
        "|\n|---|---|---|---|"
    )
    for method in METHODS:
        plain, fused = (statistics.median(times[method, kind]) for kind in ("eager", "sdpa"))
        print(
            f"| `{method}` | {plain:.0f} | {fused:.0f} | {fused / plain:.2f} |".replace(
                "q|a", "q\\|a"
            )
        )


def _stepper(method: str, attention: str, batch: dict):
    model = adapt(
        load_base("all-MiniLM-L6-v2", task="classify", labels=2, attn_implementation=attention),
        method,
    ).train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            loss = model(**batch).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


if __name__ == "__main__":
    main()
