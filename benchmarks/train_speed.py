"""One training step over a frozen encoder, as a multiple of the time of its matrix products alone; interleaved, medians.

    python benchmarks/train_speed.py [--widths 384 768] [--tokens 24 128] [--adapters_python OTHER/bin/python] [--device cuda]

The roof is what no training can go below: the products of the linear maps of all layers in bf16, forward, and backward towards the
activations (not the attention's products, which are small). Beside it, in turns in one process:

    adaptkit         as the recipes train: frozen base in bf16 without its dropout, attention measured at start-up
    PEFT autocast    peft.LoraConfig, fp32 weights, bf16 autocast, the base's own dropout and attention, as Trainer does with bf16
    PEFT bf16        the same with the base's weights in bf16
    AdapterHub       adapters 1.3.0 in a process of the interpreter given, which waits while others work; bf16 autocast

All steps: forward, loss, backward, gradient clipping, AdamW. BERT shapes of random weights; 32 rows without padding.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from torch.nn import functional as F

ROWS = 32
LAYERS = {384: 6, 768: 12}
METHODS = {"lora": "lora[r=8,sites=attn.q|attn.v]", "bottleneck": "bottleneck"}


def bert(width: int, **more):
    """A BERT classifier of random weights."""
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    sizes = {"hidden_size": width, "num_hidden_layers": LAYERS[width], "num_attention_heads": 12, "intermediate_size": 4 * width}
    return BertForSequenceClassification(BertConfig(**sizes, **more))


def roof(width: int, tokens: int, device: str):
    """A function that does the products of one step."""
    half = {"dtype": torch.bfloat16, "device": device}
    x, inner = torch.randn(ROWS * tokens, width, **half), torch.randn(ROWS * tokens, 4 * width, **half)
    square = [torch.randn(width, width, **half) for _ in range(4)]
    up, down = torch.randn(4 * width, width, **half), torch.randn(width, 4 * width, **half)

    @torch.no_grad()
    def products() -> None:
        for _ in range(LAYERS[width]):
            for weight in square:
                F.linear(x, weight)
            F.linear(x, up)
            F.linear(inner, down)
        for _ in range(LAYERS[width]):
            for weight in square:
                x @ weight
            inner @ up
            x @ down

    return products


def stepper(model, tokens: int, device: str, rows: int = ROWS, half: bool = True):
    """A function that trains `model` by one step, as Trainer does with bf16, or without."""
    model = model.to(device).train()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-3, fused=True)
    generator = torch.Generator().manual_seed(0)
    batch = {
        "input_ids": torch.randint(1000, 20000, (rows, tokens), generator=generator).to(device),
        "attention_mask": torch.ones(rows, tokens, dtype=torch.long, device=device),
        "labels": torch.randint(0, 2, (rows,), generator=generator).to(device),
    }

    def step() -> None:
        with torch.autocast(device, torch.bfloat16, enabled=half):
            loss = model(**batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


def adaptkit_model(method: str, width: int, tokens: int, device: str):
    """As the recipes do it."""
    from adaptkit import adapt
    from adaptkit.fastest import Shape, measure
    from adaptkit.precision import Precision

    attention = "sdpa"
    if device == "cpu":
        times = measure(Shape(ROWS, tokens, 12, width // 12, LAYERS[width]), torch.bfloat16)
        attention = min(times, key=times.__getitem__)
    silent = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    model = adapt(bert(width, attn_implementation=attention, **silent), METHODS[method], head=["classifier"])
    return Precision(torch.bfloat16).set(model), attention


def peft_model(width: int, half: bool):
    """PEFT's LoRA of the same rank on q and v."""
    import peft

    config = peft.LoraConfig(r=8, lora_alpha=16, target_modules=["query", "value"], modules_to_save=["classifier"])
    model = bert(width)
    return peft.get_peft_model(model.to(torch.bfloat16) if half else model, config)


def hub_steps() -> None:
    """In AdapterHub's own environment: make a model for each line of stdin, then a step for each `step`; milliseconds on stdout."""
    import adapters

    step = None
    for line in sys.stdin:
        word, *rest = line.split()
        if word == "make":
            method, width, tokens, device = rest[0], int(rest[1]), int(rest[2]), rest[3]
            model = bert(width)
            adapters.init(model)
            lora = adapters.LoRAConfig(r=8, alpha=16, selfattn_lora=True, attn_matrices=["q", "v"])
            model.add_adapter("a", config=lora if method == "lora" else "double_seq_bn")
            model.train_adapter("a")
            model.classifier.requires_grad_(True)
            step = stepper(model, tokens, device)
        elif step:
            print(f"ms {_time(step, 'cpu')}", flush=True)


class Hub:
    """AdapterHub in a process of its own."""

    def __init__(self, python: str):
        command = [python, __file__, "--hub"]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )

    def send(self, line: str) -> None:
        """Write one line."""
        assert self.process.stdin
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def step(self) -> float:
        """Milliseconds of one step."""
        self.send("step")
        assert self.process.stdout
        for line in self.process.stdout:
            if line.startswith("ms "):
                return float(line[3:])
        sys.exit("AdapterHub's process ended; does its python have torch, transformers and adapters?")


def _time(step, device: str) -> float:
    began = time.perf_counter()
    step()
    if device == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - began) * 1000


def row(width: int, tokens: int, method: str, given: argparse.Namespace, hub: Hub | None) -> str:
    """One line of the table."""
    device, timers = given.device, {}
    timers["roof"] = lambda: _time(products, device)
    products = roof(width, tokens, device)
    model, attention = adaptkit_model(method, width, tokens, device)
    ours = stepper(model, tokens, device)
    timers["adaptkit"] = lambda: _time(ours, device)
    if method == "lora":
        autocast, half = (stepper(peft_model(width, half), tokens, device) for half in (False, True))
        timers["PEFT autocast"], timers["PEFT bf16"] = lambda: _time(autocast, device), lambda: _time(half, device)
    if hub:
        hub.send(f"make {method} {width} {tokens} {device}")
        timers["AdapterHub"] = hub.step
    times: dict[str, list[float]] = {name: [] for name in timers}
    for turn in range(given.rounds + 1):
        for name, timer in timers.items():
            taken = timer()
            if turn:
                times[name].append(taken)
    middle = {name: statistics.median(values) for name, values in times.items()}
    cells = [f"{middle[name] / middle['roof']:.2f}" if name in middle else "-" for name in COLUMNS]
    return f"| {width} | {tokens} | {method} | {middle['roof']:.0f} | {' | '.join(cells)} | {attention} |"


COLUMNS = ("adaptkit", "PEFT autocast", "PEFT bf16", "AdapterHub")


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--widths", nargs="+", type=int, default=[384, 768], choices=LAYERS)
    parser.add_argument("--tokens", nargs="+", type=int, default=[24, 128])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--adapters_python", help="an interpreter that has AdapterHub's adapters")
    parser.add_argument("--hub", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.hub:
        hub_steps()
        return
    hub = Hub(given.adapters_python) if given.adapters_python else None
    print(f"| width | tokens | method | roof, ms | {' | '.join(COLUMNS)} | attention |\n|{'---|' * 9}", flush=True)
    for width in given.widths:
        for tokens in given.tokens:
            for method in METHODS:
                print(row(width, tokens, method, given, hub), flush=True)


if __name__ == "__main__":
    main()
