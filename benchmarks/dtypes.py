"""A training step on a CPU by the dtype in which the base is stored: adaptkit and PEFT.

    python benchmarks/dtypes.py [--rows 32] [--tokens 32] [--rounds 5]

all-MiniLM-L6-v2 on disk in each dtype, LoRA r 8 on q and v; nf4 and int8 by bitsandbytes, from
fp32. PEFT uses transformers' loading; neither side is given a dtype. A step is that of Trainer
without autocast: forward, loss, backward, clipping, AdamW. In turns in one process, medians. On a
processor that computes in bf16 the recipes train under autocast; train_speed.py is the benchmark
for that.
"""

import argparse
import os
import statistics
import tempfile

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import peft
import torch
from train_speed import _time, stepper
from transformers import AutoModelForSequenceClassification, BitsAndBytesConfig
from transformers.utils import logging

from adaptkit import adapt, load_base

STORED = {"float32": None, "bfloat16": None, "float16": None, "nf4": "nf4", "int8": "int8"}


def ours(folder: str, quantize: str | None):
    """Load and adapt as the recipes do."""
    return adapt(
        load_base(folder, task="classify", labels=2, quantize=quantize),
        "lora[r=8,sites=attn.q|attn.v]",
    )


def theirs(folder: str, quantize: str | None):
    """Load and adapt as in PEFT's documentation."""
    packing = {
        "nf4": {
            "load_in_4bit": True,
            "bnb_4bit_quant_type": "nf4",
            "bnb_4bit_compute_dtype": torch.bfloat16,
        },
        "int8": {"load_in_8bit": True},
    }
    whole = {"llm_int8_skip_modules": ["classifier"]}  # else the new head is quantized too
    more = (
        {"quantization_config": BitsAndBytesConfig(**packing[quantize], **whole)}
        if quantize
        else {}
    )
    base = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=2, **more)
    base = (
        peft.prepare_model_for_kbit_training(base, use_gradient_checkpointing=False)
        if quantize
        else base
    )
    return peft.get_peft_model(
        base,
        peft.LoraConfig(task_type="SEQ_CLS", r=8, lora_alpha=16, target_modules=["query", "value"]),
    )


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    print(
        "| stored in | adaptkit computes in | adaptkit, ms | PEFT, ms | PEFT / adaptkit "
        "|\n|---|---|---|---|---|",
        flush=True,
    )
    for name, quantize in STORED.items():
        with tempfile.TemporaryDirectory() as folder:
            load_base("all-MiniLM-L6-v2").to(
                torch.float32 if quantize else getattr(torch, name)
            ).save_pretrained(folder)
            models = [ours(folder, quantize), theirs(folder, quantize)]
        computed = next(
            (m.compute_dtype for m in models[0].modules() if hasattr(m, "compute_dtype")),
            models[0].dtype,
        )
        steps = [stepper(model, given.tokens, "cpu", given.rows, half=False) for model in models]
        rounds = [[_time(step, "cpu") for step in steps] for _ in range(given.rounds + 1)][1:]
        our, their = (statistics.median(times) for times in zip(*rounds, strict=True))
        print(
            f"| {name} | {str(computed)[6:]} | {our:.0f} | {their:.0f} | {their / our:.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
