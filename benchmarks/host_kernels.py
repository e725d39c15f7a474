"""The host's copies and products beside their alternatives.

    python benchmarks/host_kernels.py [--width 384] [--tokens 16] [--rounds 31]

Milliseconds, medians of interleaved rounds. 32 rows, rank 8, fp32. The last table is a stack of 6
layers with 6 maps each: 32 of 64 slots gathered at once, or by half layers.
"""

import argparse
import random
import statistics
import time

import torch

ROWS, RANK, LAYERS, MAPS = 32, 8, 6, 6


def main() -> None:
    """Print two tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--tokens", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=31)
    given = parser.parse_args()
    torch.set_grad_enabled(False)
    torch.manual_seed(0)
    print(
        f"{given.width} wide, {given.tokens} tokens, {torch.get_num_threads()} threads\n\n| what "
        "| ms |\n|---|---|"
    )
    for name, took in medians(products(given.width, given.tokens), given.rounds).items():
        print(f"| {name} | {took:.3f} |")
    print("\n| weights of a batch | ms |\n|---|---|")
    for name, took in medians(gathers(given.width, given.tokens), given.rounds).items():
        print(f"| {name} | {took:.2f} |")


def products(width: int, tokens: int) -> dict:
    x, y = torch.randn(ROWS, tokens, width), torch.randn(ROWS, tokens, width)
    a, b = torch.randn(ROWS, RANK, width), torch.randn(ROWS, width, RANK)
    low, turned, b_turned = torch.bmm(x, a.mT), torch.bmm(a, x.mT), b.mT.contiguous()
    return {
        "x @ A.mT": lambda: torch.bmm(x, a.mT),
        "A @ x.mT": lambda: torch.bmm(a, x.mT),
        "y + low @ B.mT": lambda: y + torch.bmm(low, b.mT),
        "y += low @ B.mT": lambda: y.baddbmm_(low, b.mT),
        "y += low.mT @ B, B as (r, out)": lambda: y.baddbmm_(turned.mT, b_turned),
    }


def gathers(width: int, tokens: int) -> dict:
    piece = 2 * RANK * width
    slots = torch.randn(64, LAYERS * MAPS * piece)
    x = torch.randn(ROWS, tokens, width)
    kept, buffer = torch.empty(ROWS, slots.shape[1]), torch.empty(ROWS, MAPS // 2 * piece)

    def chosen() -> torch.Tensor:
        return torch.tensor(sorted(random.sample(range(64), ROWS)))

    def use(weights: torch.Tensor) -> None:
        for start in range(0, weights.shape[1], piece):
            a, b = weights[:, start : start + piece].unflatten(1, (2 * RANK, width)).chunk(2, 1)
            torch.bmm(torch.bmm(a, x.mT).mT, b)

    def by_halves() -> None:
        numbers = chosen()
        for start in range(0, slots.shape[1], buffer.shape[1]):
            use(
                torch.index_select(
                    slots[:, start : start + buffer.shape[1]], 0, numbers, out=buffer
                )
            )

    return {
        "copied at once into fresh memory, and used": lambda: use(slots.index_select(0, chosen())),
        "copied at once into memory that is kept": lambda: use(
            torch.index_select(slots, 0, chosen(), out=kept)
        ),
        "copied by half layers into memory that is kept": by_halves,
        "used alone": lambda: use(kept),
    }


def medians(contestants: dict, rounds: int) -> dict[str, float]:
    took: dict[str, list[float]] = {name: [] for name in contestants}
    for forward_lock in range(rounds + 1):
        for name, run in contestants.items():
            began = time.perf_counter()
            run()
            if forward_lock:
                took[name].append((time.perf_counter() - began) * 1000)
    return {name: statistics.median(values) for name, values in took.items()}


if __name__ == "__main__":
    main()
