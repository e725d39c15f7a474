"""The linear maps of MiniLM alone, in each form that torch has for a CPU, and in ONNX Runtime.

    python benchmarks/maps_cpu.py [--tokens 16 512] [--isa ALL AVX512_CORE_BF16 AVX512_CORE_VNNI]

24 maps (6 layers of q, k and v together, the attention's output, and the two of the feed-forward
block) of random weights, one thread. `int8 alone` is the product of numbers that are int8 already;
`int8 by token` quantizes each token by its largest number, `int8 dynamic` all tokens together.
--isa: what oneDNN may use, as on other processors; each in a process of its own.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

LAYERS, SHAPES = 6, ((384, 1152), (384, 384), (384, 1536), (1536, 384))
ROUNDS = 15
Run = Callable[[], object]


def plain(weight: Tensor, bias: Tensor, x: Tensor) -> Run:
    return lambda: F.linear(x, weight, bias)


def packed(weight: Tensor, bias: Tensor, x: Tensor) -> Run:
    from adaptkit.compute.maps import PackedMap

    made, half = PackedMap(weight.bfloat16(), bias.bfloat16()), x.bfloat16()
    return lambda: made(half)


def int8_alone(weight: Tensor, bias: Tensor, x: Tensor) -> Run:
    scales, zeros = torch.ones(len(weight)), torch.zeros(len(weight), dtype=torch.int32)
    small = torch.ops.onednn.qlinear_prepack(weight.mul(100).round().to(torch.int8), None)
    given = torch.randint(0, 256, x.shape, dtype=torch.uint8)
    made, out = torch.ops.onednn.qlinear_pointwise, (1.0, 0, torch.float32, "none", [], "")
    return lambda: made(given, 1.0, 128, small, scales, zeros, None, *out)


def int8_by_token(weight: Tensor, bias: Tensor, x: Tensor) -> Run:
    from adaptkit.compute.maps import QuantizedMap

    made = QuantizedMap(weight, bias)
    return lambda: made(x)


def int8_dynamic(weight: Tensor, bias: Tensor, x: Tensor) -> Run:
    torch.backends.quantized.engine = "fbgemm"
    scales = (weight.abs().amax(1) / 127).double()
    zeros = torch.zeros(len(weight), dtype=torch.long)
    small = torch.quantize_per_channel(weight, scales, zeros, 0, torch.qint8)
    made = torch.ops.quantized.linear_prepack(small, bias)
    return lambda: torch.ops.quantized.linear_dynamic(x, made, False)


FORMS = {
    "fp32": plain,
    "bf16, packed": packed,
    "int8 alone": int8_alone,
    "int8 by token": int8_by_token,
    "int8 dynamic": int8_dynamic,
}


def in_onnx(tokens: int) -> dict[str, list[Run]]:
    """The same maps in ONNX Runtime, in fp32 and quantized on the fly."""
    import onnxruntime
    from onnxruntime.quantization import QuantType, quantize_dynamic

    class Maps(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.maps = torch.nn.ModuleList(
                torch.nn.Linear(*shape) for _ in range(LAYERS) for shape in SHAPES
            )

        def forward(self, narrow, wide):
            given = {384: narrow, 1536: wide}
            return torch.cat([one(given[one.in_features])[..., :1] for one in self.maps], -1)

    place = Path(tempfile.mkdtemp())
    given = torch.randn(1, tokens, 384), torch.randn(1, tokens, 1536)
    files = {"ONNX fp32": place / "plain.onnx", "ONNX int8": place / "small.onnx"}
    plain_file, small_file = files.values()
    names = ["narrow", "wide"]
    torch.onnx.export(Maps().eval(), given, str(plain_file), input_names=names, dynamo=False)
    quantize_dynamic(plain_file, small_file, weight_type=QuantType.QInt8, per_channel=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    asked = {name: one.numpy() for name, one in zip(names, given, strict=True)}
    found = {}
    for name, file in files.items():
        session = onnxruntime.InferenceSession(str(file), options)
        found[name] = [lambda session=session: session.run(None, asked)]
    return found


def in_torch(tokens: int) -> dict[str, list[Run]]:
    given = [
        (torch.randn(wide, narrow) * 0.05, torch.randn(wide), torch.randn(1, tokens, narrow))
        for _ in range(LAYERS)
        for narrow, wide in SHAPES
    ]
    return {name: [form(*one) for one in given] for name, form in FORMS.items()}


@torch.no_grad()
def row(tokens: int, isa: str) -> str:
    """Median milliseconds of all maps; the forms take turns."""
    ways = in_torch(tokens) | in_onnx(tokens)
    took: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, runs in ways.items():
            for _ in range(2):  # the first is not counted
                start = time.perf_counter()
                for run in runs:
                    run()
            took[name].append(time.perf_counter() - start)
    cells = [f"{1e3 * statistics.median(times):.1f}" for times in took.values()]
    return f"| {isa} | {tokens} | {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tokens", type=int, nargs="+", default=[16, 512])
    parser.add_argument("--isa", nargs="+", default=["ALL", "AVX512_CORE_BF16", "AVX512_CORE_VNNI"])
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        torch.set_num_threads(1)
        for tokens in given.tokens:
            print(row(tokens, given.isa[0]), flush=True)
        return
    head = ["oneDNN may use", "tokens", *FORMS, "ONNX fp32", "ONNX int8"]
    print("| " + " | ".join(head) + " |\n" + "|---" * len(head) + "|", flush=True)
    for isa in given.isa:
        words = [__file__, "--one", "--isa", isa, "--tokens", *map(str, given.tokens)]
        done = subprocess.run(
            [sys.executable, *words],
            env={**os.environ, "ONEDNN_MAX_CPU_ISA": isa, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            check=True,
        )
        print("\n".join(line for line in done.stdout.splitlines() if line[0] == "|"), flush=True)


if __name__ == "__main__":
    main()
