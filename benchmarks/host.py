"""Many adapters in one batch: the host, the bare base, PEFT's `adapter_names` and `set_adapter`.

    python benchmarks/host.py [--widths 384 768] [--tokens 16 128] [--distinct 1 8 32]
        [--targets qv all] [--rounds 7] [--dtype float32]

Whole encoders (BERT; 6 layers at width 384, 12 above), batch 32, LoRA r 8, random weights, no
heads. With `set_adapter`, rows are grouped by adapter. All contestants take turns in one process on
the same batch; every round chooses other adapters, in another order, out of eight more than are
requested. The figures are medians over the rounds of the ratio to the bare base of the same round:
1.00 is as fast as no adapter at all.
"""

import argparse
import os
import random
import statistics
import tempfile
import time
import warnings
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import peft
import torch
from transformers import BertConfig, BertModel

from adaptkit import Host

TARGETS = {"qv": ["query", "value"], "all": ["query", "key", "value", "dense"]}
ROOM = {"qv": "lora[r=8,sites=attn.q|attn.v]", "all": "lora[r=8]"}
ROWS = 32


def main() -> None:
    """Print a Markdown table, with the largest difference between the host's and PEFT's outputs."""
    warnings.filterwarnings("ignore")
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--widths", type=int, nargs="+", default=[384, 768])
    parser.add_argument("--tokens", type=int, nargs="+", default=[16, 128])
    parser.add_argument("--distinct", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--targets", nargs="+", choices=TARGETS, default=list(TARGETS))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    given = parser.parse_args()
    where = (
        torch.cuda.get_device_name()
        if given.device == "cuda"
        else f"{torch.get_num_threads()} threads"
    )
    print(
        f"{given.dtype} on {given.device} ({where}), batch {ROWS}, LoRA r 8; speed in shares of "
        "the bare base's"
    )
    print(
        "| width | tokens | targets | adapters | base, ms | host | PEFT adapter_names | "
        "set_adapter | host alone | difference |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    for width in given.widths:
        for targets in given.targets:
            with tempfile.TemporaryDirectory() as folder:
                contest = Contest(
                    width,
                    targets,
                    8 + max(given.distinct),
                    getattr(torch, given.dtype),
                    given.device,
                    Path(folder),
                )
                for tokens in given.tokens:
                    for distinct in given.distinct:
                        print(contest.row(tokens, distinct, given.rounds), flush=True)


class Contest:
    """The same base three times (bare, under PEFT, under the host), with the same adapters."""

    def __init__(
        self, width: int, targets: str, adapters: int, dtype: torch.dtype, device: str, folder: Path
    ):
        torch.manual_seed(0)
        layers = 6 if width < 768 else 12
        config = BertConfig(
            hidden_size=width,
            num_hidden_layers=layers,
            num_attention_heads=12,
            intermediate_size=4 * width,
        )
        self.width, self.targets, self.device = width, targets, device
        self.bare = BertModel(config, add_pooling_layer=False).eval().to(device, dtype)
        state = self.bare.state_dict()
        bases = [
            BertModel(config, add_pooling_layer=False).eval().to(device, dtype) for _ in range(2)
        ]
        for base in bases:
            base.load_state_dict(state)
        lora = peft.LoraConfig(
            r=8, lora_alpha=16, target_modules=TARGETS[targets], init_lora_weights=False
        )
        self.names = [f"a{i}" for i in range(adapters)]
        self.peft = peft.get_peft_model(bases[0], lora, self.names[0])
        for name in self.names[1:]:
            self.peft.add_adapter(name, lora)
        self.peft.eval().save_pretrained(folder, save_embedding_layers=False)
        self.host = Host(bases[1], slots=adapters, slot_capacity=ROOM[targets])
        for name in self.names:
            self.host.load(name, folder / name, check_base=False)
        self.generator = random.Random(1)

    def row(self, tokens: int, distinct: int, rounds: int) -> str:
        """One row of the table."""
        times: dict[str, list[float]] = {}
        worst = 0.0
        for forward_lock in range(rounds + 1):
            batch = {"input_ids": torch.randint(1000, 20000, (ROWS, tokens), device=self.device)}
            batch["attention_mask"] = torch.ones_like(batch["input_ids"])
            names = self.generator.sample(self.names, distinct) * (ROWS // distinct)
            self.generator.shuffle(names)
            contestants = {
                "bare": lambda batch=batch: self.bare(**batch)[0],
                "host": lambda batch=batch, names=names: self.host.hidden(batch, names),
                "mixed": lambda batch=batch, names=names: self.peft(**batch, adapter_names=names)[
                    0
                ],
                "grouped": lambda batch=batch, names=names: self._grouped(batch, names),
                "none": lambda batch=batch: self.host.hidden(batch),
            }
            outputs = {}
            for name, run in contestants.items():
                took, outputs[name] = _timed(run)
                if forward_lock:
                    times.setdefault(name, []).append(took)
            worst = max(worst, float((outputs["host"] - outputs["mixed"]).abs().max()))
        ratio = {
            name: statistics.median(b / t for b, t in zip(times["bare"], times[name], strict=True))
            for name in times
        }
        shown = " | ".join(f"{ratio[name]:.2f}" for name in ("host", "mixed", "grouped", "none"))
        base = statistics.median(times["bare"]) * 1000
        return (
            f"| {self.width} | {tokens} | {self.targets} | {distinct} | {base:.1f} | {shown} | "
            f"{worst:.0e} |"
        )

    def _grouped(self, batch: dict, names: list[str]) -> list[torch.Tensor]:
        """The rows of each adapter separately."""
        found = []
        for name in dict.fromkeys(names):
            rows = [i for i, other in enumerate(names) if other == name]
            self.peft.set_adapter(name)
            found.append(self.peft(**{key: value[rows] for key, value in batch.items()})[0])
        return found


def _timed(run):
    synchronize = torch.cuda.synchronize if torch.cuda.is_available() else lambda: None
    synchronize()
    began = time.perf_counter()
    with torch.no_grad():
        output = run()
    synchronize()
    return time.perf_counter() - began, output


if __name__ == "__main__":
    main()
