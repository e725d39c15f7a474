"""One training step over a frozen base, as a multiple of the time of its matrix products alone.

    python benchmarks/train_speed.py [--widths 384 768] [--tokens 24 128] [--fp32]
        [--adapters_python OTHER/bin/python]
    python benchmarks/train_speed.py --device cuda --widths 768 2048 [--compile]
        [--attn_implementation eager]

Interleaved, medians. The roof is the lower bound of any training: the products of the linear maps
of all layers, forward, and backward towards the activations (not the attention's products, which
are small). In bf16; with --fp32, for a CPU that does not compute in bf16, all are in fp32 without
autocast. Compared in turns in one process:

    adaptkit         as the recipes train: frozen base in bf16 without its dropout; on a CPU
                     attention measured at start-up, on a GPU the step recorded as a CUDA graph
    launched         on a GPU: the same without the graph, kernel by kernel
    compiled         on a GPU, with --compile: the same without the graph, under torch.compile
    PEFT autocast    peft.LoraConfig, fp32 weights, bf16 autocast, the base's own dropout and
                     attention, as Trainer does with bf16
    PEFT bf16        the same with the base's weights in bf16
    PEFT fp32        with --fp32: the same without autocast
    PEFT compiled    on a GPU, with --compile: that under torch.compile
    AdapterHub       adapters 1.3.0 in a process of the given interpreter, which waits while others
                     work; bf16 autocast

All steps: forward, loss, backward, gradient clipping, AdamW. Random weights: BERT shapes of 6
layers at 384 and 12 at 768, and at 2048 Llama 3.2 1B's (16 layers, 8 key-value heads); 32 rows
without padding.
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
LAYERS = {384: 6, 768: 12, 2048: 16}
LLAMA = 2048
METHODS = {"lora": "lora[r=8,sites=attn.q|attn.v]", "bottleneck": "bottleneck"}


def network(width: int, device: str, **more):
    """A classifier with random weights."""
    torch.manual_seed(0)
    with torch.device(device):
        return llama(**more) if width == LLAMA else bert(width, **more)


def bert(width: int, **more):
    """A BERT classifier."""
    from transformers import BertConfig, BertForSequenceClassification

    sizes = {
        "hidden_size": width,
        "num_hidden_layers": LAYERS[width],
        "num_attention_heads": 12,
        "intermediate_size": 4 * width,
    }
    silent = (
        {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
        if more.pop("silent", False)
        else {}
    )
    return BertForSequenceClassification(BertConfig(**sizes, **silent, **more))


def llama(silent: bool = False, **more):
    """A Llama classifier; it has no dropout."""
    from transformers import LlamaConfig, LlamaForSequenceClassification

    sizes = {
        "hidden_size": LLAMA,
        "num_hidden_layers": LAYERS[LLAMA],
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
    }
    sizes |= {"intermediate_size": 8192, "vocab_size": 128256, "tie_word_embeddings": True}
    return LlamaForSequenceClassification(LlamaConfig(**sizes, pad_token_id=0, **more))


def maps(width: int) -> list[tuple[int, int]]:
    """Input and output widths of the linear maps of one layer."""
    if width == LLAMA:
        return [
            (width, width),
            (width, 512),
            (width, 512),
            (width, width),
            (width, 8192),
            (width, 8192),
            (8192, width),
        ]
    return [(width, width)] * 4 + [(width, 4 * width), (4 * width, width)]


def roof(width: int, tokens: int, device: str, dtype: torch.dtype):
    """A function that runs the products of one step over this many tokens in all."""
    half = {"dtype": dtype, "device": device}
    inputs = {size: torch.randn(tokens, size, **half) for pair in maps(width) for size in pair}
    weights = [torch.randn(out, into, **half) for into, out in maps(width)]

    @torch.no_grad()
    def products() -> None:
        for _ in range(LAYERS[width]):
            for weight in weights:
                F.linear(inputs[weight.shape[1]], weight)
        for _ in range(LAYERS[width]):
            for weight in weights:
                inputs[weight.shape[0]] @ weight

    if device == "cpu":
        return products
    products()  # kernels are chosen
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        products()
    return graph.replay


def stepper(
    model,
    tokens: int,
    device: str,
    rows: int = ROWS,
    half: bool = True,
    graphs: bool = False,
    compiled: bool = False,
):
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
    run = torch.compile(model) if compiled else model

    def backward(inputs, items):
        with torch.autocast(device, torch.bfloat16, enabled=half):
            loss = run(**inputs).loss
        loss.backward()
        return loss.detach()

    if graphs:
        from adaptkit.training.cuda_graphs import StepGraphs

        recorded, items = StepGraphs(trained), torch.tensor(rows, device=device)

    def step() -> None:
        if graphs:
            recorded.step(backward, batch, items)
        else:
            backward(batch, None)
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


def adaptkit_model(
    method: str, width: int, tokens: int, device: str, attention: str, dtype: torch.dtype
):
    """The model as the recipes make it."""
    from adaptkit import adapt
    from adaptkit.training.fastest_attention import Shape, measure
    from adaptkit.training.precision import Precision

    if device == "cpu":
        times = measure(Shape(ROWS, tokens, 12, width // 12, LAYERS[width]), dtype)
        attention = min(times, key=times.__getitem__)
    head = ["score"] if width == LLAMA else ["classifier"]
    model = adapt(
        network(width, device, attn_implementation=attention, silent=True),
        METHODS[method],
        head=head,
    )
    return Precision(None if dtype == torch.float32 else dtype).set(model), attention


def peft_model(width: int, half: bool, device: str):
    """PEFT's LoRA of the same rank on q and v."""
    import peft

    names = {"target_modules": ["query", "value"], "modules_to_save": ["classifier"]}
    if width == LLAMA:
        names = {"target_modules": ["q_proj", "v_proj"], "modules_to_save": ["score"]}
    config = peft.LoraConfig(r=8, lora_alpha=16, **names)
    model = network(width, device)
    return peft.get_peft_model(model.to(torch.bfloat16) if half else model, config)


def hub_steps() -> None:
    """In AdapterHub's environment: make a model per line of stdin, then a step per `step`.

    Prints milliseconds to stdout.
    """
    import adapters

    step = None
    for line in sys.stdin:
        word, *rest = line.split()
        if word == "make":
            method, width, tokens, device = rest[0], int(rest[1]), int(rest[2]), rest[3]
            model = network(width, "cpu")
            adapters.init(model)
            lora = adapters.LoRAConfig(r=8, alpha=16, selfattn_lora=True, attn_matrices=["q", "v"])
            model.add_adapter("a", config=lora if method == "lora" else "double_seq_bn")
            model.train_adapter("a")
            model.classifier.requires_grad_(True)
            step = stepper(model, tokens, device)
        elif step:
            print(f"ms {_time(step, 'cpu')}", flush=True)


class Hub:
    """AdapterHub in its own process."""

    def __init__(self, python: str):
        command = [python, __file__, "--hub"]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
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
        sys.exit(
            "AdapterHub's process ended; does its python have torch, transformers and adapters?"
        )


def _time(step, device: str) -> float:
    began = time.perf_counter()
    step()
    if device == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - began) * 1000


def row(width: int, tokens: int, method: str, given: argparse.Namespace, hub: Hub | None) -> str:
    """One line of the table."""
    device, half, timers = given.device, not given.fp32, {}
    dtype = torch.bfloat16 if half else torch.float32
    timers["roof"] = lambda: _time(products, device)
    products = roof(width, ROWS * tokens, device, dtype)
    attention = ""

    def ours(**how):
        nonlocal attention
        model, attention = adaptkit_model(
            method, width, tokens, device, given.attn_implementation, dtype
        )
        return stepper(model, tokens, device, half=half, **how)

    def add(name: str, step) -> None:
        timers[name] = lambda: _time(step, device)

    cuda = device == "cuda"
    add("adaptkit", ours(graphs=cuda))
    if cuda:
        add("launched", ours())
    if given.compile:
        add("compiled", ours(compiled=True))
    if method == "lora" and not half:
        add("PEFT fp32", stepper(peft_model(width, False, device), tokens, device, half=False))
    if method == "lora" and half:
        add("PEFT autocast", stepper(peft_model(width, False, device), tokens, device))
        add("PEFT bf16", stepper(peft_model(width, True, device), tokens, device))
    if method == "lora" and given.compile:
        add(
            "PEFT compiled", stepper(peft_model(width, True, device), tokens, device, compiled=True)
        )
    if hub:
        hub.send(f"make {method} {width} {tokens} {device}")
        timers["AdapterHub"] = hub.step
    times: dict[str, list[float]] = {name: [] for name in timers}
    for turn in range(given.rounds + WARM):
        for name, timer in timers.items():
            taken = timer()
            if turn >= WARM:
                times[name].append(taken)
    middle = {name: statistics.median(values) for name, values in times.items()}
    cells = [f"{middle[name] / middle['roof']:.2f}" if name in middle else "-" for name in COLUMNS]
    return (
        f"| {width} | {tokens} | {method} | {middle['roof']:.3g} | {' | '.join(cells)} | "
        f"{attention} |"
    )


COLUMNS = (
    "adaptkit",
    "launched",
    "compiled",
    "PEFT autocast",
    "PEFT bf16",
    "PEFT fp32",
    "PEFT compiled",
    "AdapterHub",
)
WARM = 3  # warm-up rounds: kernels are chosen, compiled and recorded


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--widths", nargs="+", type=int, default=[384, 768], choices=LAYERS)
    parser.add_argument("--tokens", nargs="+", type=int, default=[24, 128])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--compile", action="store_true", help="measure torch.compile too")
    parser.add_argument("--fp32", action="store_true", help="run everything in fp32")
    parser.add_argument("--attn_implementation", default="sdpa", help="adaptkit attention on a GPU")
    parser.add_argument("--adapters_python", help="an interpreter that has AdapterHub's adapters")
    parser.add_argument("--hub", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.compile and given.device == "cpu":
        parser.error("--compile is for --device cuda")
    if given.fp32 and (given.compile or given.adapters_python):
        parser.error("--fp32 goes with neither --compile nor --adapters_python")
    if given.hub:
        hub_steps()
        return
    hub = Hub(given.adapters_python) if given.adapters_python else None
    print(
        f"| width | tokens | method | roof, ms | {' | '.join(COLUMNS)} | attention "
        f"|\n|{'---|' * (5 + len(COLUMNS))}",
        flush=True,
    )
    for width in given.widths:
        for tokens in given.tokens:
            for method in given.methods:
                print(row(width, tokens, method, given, hub), flush=True)


if __name__ == "__main__":
    main()
