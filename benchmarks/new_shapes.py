"""Attention on a GPU at its first and later uses of a shape, with and without cuDNN's plans.

    python benchmarks/new_shapes.py [--rows 32] [--heads 12] [--width 64] [--tokens 16 128]
        [--new 32] [--long 512 2048]

torch's own choice beside `disable_cudnn_sdpa`. bf16, a mask that hides the last token of some rows.
`train`: forward and backward, each length from the first to the last of --tokens in steps of 8.
`write`: one query with one more key each time, --new times after the last of --tokens. `long`:
forward and backward of 4 rows at these lengths, where a kernel has something to do. Milliseconds,
medians over the shapes.
"""

import argparse
import statistics
import sys
import time
from contextlib import nullcontext

import torch
from torch.nn import functional as F

from adaptkit.utils.cudnn import disable_cudnn_sdpa

KINDS = {"torch's choice": nullcontext, "no plans": disable_cudnn_sdpa}
AGAIN = 5


def seconds(rows: int, heads: int, queries: int, keys: int, width: int, backward: bool) -> float:
    """The seconds of one attention, with its gradients or without."""
    sizes = [(rows, heads, count, width) for count in (queries, keys, keys)]
    inputs = [
        torch.randn(size, device="cuda", dtype=torch.bfloat16, requires_grad=backward)
        for size in sizes
    ]
    seen = torch.ones(rows, 1, queries, keys, device="cuda", dtype=torch.bool)
    seen[: rows // 4, ..., -1] = False
    torch.cuda.synchronize()
    began = time.perf_counter()
    made = F.scaled_dot_product_attention(*inputs, attn_mask=seen)
    if backward:
        made.sum().backward()
    torch.cuda.synchronize()
    return time.perf_counter() - began


def line(
    kind: str, name: str, shapes: list[tuple[int, int, int]], given: argparse.Namespace
) -> str:
    """One line of the table; `shapes`: rows, queries, keys."""
    first, again = [], []
    with KINDS[kind](), torch.set_grad_enabled(name != "write"):
        for rows, queries, keys in shapes:
            times = [
                1000 * seconds(rows, given.heads, queries, keys, given.width, name != "write")
                for _ in range(1 + AGAIN)
            ]
            first.append(times[0])
            again.append(statistics.median(times[1:]))
    return (
        f"| {name} | {kind} | {len(shapes)} | {statistics.median(first):.2f} | "
        f"{statistics.median(again):.2f} | {sum(first):.0f} |"
    )


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=32)
    parser.add_argument("--heads", type=int, default=12)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--tokens", type=int, nargs=2, default=[16, 128])
    parser.add_argument("--new", type=int, default=32)
    parser.add_argument("--long", type=int, nargs="+", default=[512, 2048])
    given = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("new_shapes.py measures a CUDA GPU, and there is none.")
    shortest, longest = given.tokens
    seconds(2, given.heads, 8, 8, given.width, True)  # the GPU starts
    cases = {
        "train": [(given.rows, tokens, tokens) for tokens in range(shortest, longest + 1, 8)],
        "write": [(given.rows, 1, longest + more) for more in range(1, given.new + 1)],
        **{f"long {tokens}": [(4, tokens, tokens)] for tokens in given.long},
    }
    print(
        "| what | attention | shapes | first, ms | again, ms | all first, ms "
        "|\n|---|---|---|---|---|---|",
        flush=True,
    )
    for name, shapes in cases.items():
        for kind in KINDS:
            print(line(kind, name, shapes, given), flush=True)


if __name__ == "__main__":
    main()
