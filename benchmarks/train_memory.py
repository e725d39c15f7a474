"""Peak memory of training at BERT-base shape, by what is trained.

    python benchmarks/train_memory.py [--rows 32] [--tokens 128] [--device cuda] [--fp32]
        [--cases ...]

Each case runs a few steps in its own process. On a CPU `peak` is the largest resident size of the
process, and `above the program` its growth since the imports; on a GPU `peak` is the most that
torch allocated. Random weights of BERT-base (109 M parameters), bf16 autocast (--fp32: none),
AdamW.
"""

import argparse
import gc
import json
import os
import resource
import subprocess
import sys
import tempfile

os.environ.setdefault("HF_HUB_OFFLINE", "1")

# name -> method, quantization, gradient checkpointing
CASES = {
    "full": ("full", None, False),
    "full, checkpointed": ("full", None, True),
    "lora": ("lora", None, False),
    "lora, checkpointed": ("lora", None, True),
    "lora q and v": ("lora[sites=attn.q|attn.v]", None, False),
    "bottleneck": ("bottleneck", None, False),
    "bottleneck, checkpointed": ("bottleneck", None, True),
    "lora, last 4 layers, frozen trunk": ("lora[layers=last[4]]", None, False),
    "lora over nf4": ("lora", "nf4", False),
    "lora over nf4, checkpointed": ("lora", "nf4", True),
}


def one(name: str, given: argparse.Namespace) -> None:
    """Train a few steps; print peak and start as JSON."""
    import torch
    from train_speed import stepper

    from adaptkit import adapt, load_base
    from adaptkit.adapters.full import unfreeze
    from adaptkit.training.activation_cache import ActivationCache
    from adaptkit.training.frozen_layers import FrozenLayers, frozen_layers
    from adaptkit.training.precision import Precision

    method, quantize, checkpointed = CASES[name]
    cuda = given.device == "cuda"
    start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if cuda:
        torch.cuda.init()
    base = load_base(
        given.folder,
        task="classify",
        labels=2,
        quantize=quantize,
        attn_implementation="sdpa" if cuda else "eager",
    )
    model = unfreeze(base) if method == "full" else adapt(base, method)
    model = model.to(given.device)
    Precision(None if given.fp32 else torch.bfloat16).set(model)
    gc.collect()
    if checkpointed:
        base.gradient_checkpointing_enable({"use_reentrant": False})
    if method != "full" and frozen_layers(base):
        FrozenLayers(base, ActivationCache()).place()
    step = stepper(model, given.tokens, given.device, given.rows, half=not given.fp32)
    for _ in range(given.steps):
        step()
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    peak = (
        torch.cuda.max_memory_allocated()
        if cuda
        else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    )
    print(
        json.dumps({"peak": peak / 1e9, "above": (peak - start * 1024) / 1e9, "trained": trained})
    )


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument(
        "--fp32", action="store_true", help="no autocast, for a CPU that does not compute in bf16"
    )
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--case", choices=CASES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.case:
        one(given.case, given)
        return
    from train_speed import bert

    with tempfile.TemporaryDirectory() as folder:
        bert(768).bert.save_pretrained(folder)
        print(
            "| what trains | parameters | peak, GB | above the program, GB |\n|---|---|---|---|",
            flush=True,
        )
        for name in given.cases:
            command = [
                sys.executable,
                __file__,
                "--case",
                name,
                "--folder",
                folder,
                "--device",
                given.device,
            ]
            sizes = [
                "--rows",
                str(given.rows),
                "--tokens",
                str(given.tokens),
                "--steps",
                str(given.steps),
            ]
            sizes += ["--fp32"] if given.fp32 else []
            done = subprocess.run([*command, *sizes], capture_output=True, text=True)
            if done.returncode:
                sys.exit(done.stderr[-3000:])
            found = json.loads(done.stdout.splitlines()[-1])
            print(
                f"| {name} | {found['trained']:,} | {found['peak']:.2f} | {found['above']:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
