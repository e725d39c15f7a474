"""Whole trainings on SST-2 over frozen all-MiniLM-L6-v2, LoRA r 8 on q and v.

    ADAPTKIT_DATA=... python benchmarks/train_run.py [--contenders ...] [--seeds 1 2 3] [--epochs 3]
        [--once default]

    default     peft + transformers.Trainer with defaults: padded to 128 tokens, fp32, the base's
                own dropout
    dynamic     the same, each batch padded to its longest row
    best        the same with Trainer's own fast settings: group_by_length, and bf16 if the machine
                computes in it
    adaptkit    recipes/classify.py with the same epochs, batch and learning rate; all else is
                chosen automatically
    launched    the same, --cuda_graphs false
    products    no training: the matrix products of the linear maps of all layers, forward and
                backward towards the activations, of the batches that adaptkit makes, in bf16 if the
                machine computes in it

Reports seconds, examples per second, accuracy and memory. `--device cpu` (the default) or cuda.
Each training is its own process, the contenders in turns for each seed. `training`: Trainer's
train_runtime, with the evaluation after each epoch. `whole`: the process from its start to the test
accuracy. 6,920 sentences to train, 872 to validate, 1,821 to test.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

ROOT = Path(__file__).parents[1]
METHOD = "lora[sites=attn.q|attn.v]"
RATE = 2e-3
CONTENDERS = ("default", "dynamic", "best", "launched", "adaptkit", "products")
ROWS = 32  # of a batch


def with_trainer(kind: str, folder: Path, epochs: float, seed: int) -> dict[str, float]:
    """Train with PEFT and Trainer as in their documentation."""
    import numpy as np
    import peft
    import torch
    from datasets import load_dataset
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainingArguments,
        set_seed,
    )

    from adaptkit.models.names import _resolve  # the folder of the packaged MiniLM
    from adaptkit.training.defaults import machine_defaults

    set_seed(seed)
    source = _resolve("all-MiniLM-L6-v2")
    tokenizer = AutoTokenizer.from_pretrained(source)
    files = {split: str(folder / f"{split}.tsv") for split in ("train", "dev", "test")}
    rows = load_dataset(
        "csv", data_files=files, delimiter="\t", quoting=3, cache_dir=str(folder / "cache")
    )
    fixed = {"padding": "max_length"} if kind == "default" else {}
    rows = rows.map(
        lambda batch: tokenizer(batch["text"], truncation=True, max_length=128, **fixed),
        batched=True,
    )
    base = AutoModelForSequenceClassification.from_pretrained(source, num_labels=2)
    config = peft.LoraConfig(
        task_type="SEQ_CLS", r=8, lora_alpha=16, target_modules=["query", "value"]
    )
    fast = (
        {"bf16": machine_defaults()["bf16"], "train_sampling_strategy": "group_by_length"}
        if kind == "best"
        else {}
    )
    arguments = TrainingArguments(
        output_dir=str(folder / "trainer"),
        num_train_epochs=epochs,
        per_device_train_batch_size=ROWS,
        learning_rate=RATE,
        per_device_eval_batch_size=64,
        warmup_steps=0.06,
        weight_decay=0.01,
        eval_strategy="epoch",
        save_strategy="epoch",
        load_best_model_at_end=True,
        metric_for_best_model="accuracy",
        use_cpu=not torch.cuda.is_available(),
        disable_tqdm=True,
        seed=seed,
        report_to="none",
        **fast,
    )
    trainer = Trainer(
        peft.get_peft_model(base, config),
        arguments,
        train_dataset=rows["train"],
        eval_dataset=rows["dev"],
        data_collator=DataCollatorWithPadding(tokenizer),
        processing_class=tokenizer,
        compute_metrics=lambda result: {
            "accuracy": float(np.mean(result.predictions.argmax(-1) == result.label_ids))
        },
    )
    trained = trainer.train().metrics
    return trained | trainer.evaluate(rows["test"], metric_key_prefix="test")


def with_adaptkit(folder: Path, epochs: float, seed: int, *more: str) -> dict[str, float]:
    """Run the recipe in this process."""
    sys.path.insert(0, str(ROOT / "recipes"))
    import classify

    files = {"train_file": "train.tsv", "validation_file": "dev.tsv", "test_file": "test.tsv"}
    flags = [word for key, file in files.items() for word in (f"--{key}", str(folder / file))]
    out = folder / f"adaptkit-{os.getpid()}"
    settings = [
        "--num_train_epochs",
        str(epochs),
        "--seed",
        str(seed),
        "--output_dir",
        str(out),
        "--disable_tqdm",
        "true",
    ]
    classify.main([*flags, "--learning_rate", str(RATE), "--method", METHOD, *settings, *more])
    return json.loads((out / "all_results.json").read_text())


def products_alone(folder: Path, epochs: float, seed: int) -> dict[str, float]:
    """Time the products alone."""
    import numpy as np
    import torch
    from train_speed import roof

    from adaptkit.data.samplers import LengthBuckets
    from adaptkit.models.tokenizer import load_tokenizer
    from adaptkit.training.defaults import machine_defaults

    texts = [
        line.partition("\t")[2]
        for line in (folder / "train.tsv").read_text("utf-8").splitlines()[1:]
    ]
    ids = load_tokenizer("all-MiniLM-L6-v2")(texts, truncation=True, max_length=128)["input_ids"]
    lengths = np.array([len(row) for row in ids])
    ordered = lengths[list(LengthBuckets(lengths, ROWS, seed))]
    batches = [ordered[i : i + ROWS] for i in range(0, len(ordered), ROWS)]
    device, dtype = (
        "cuda" if torch.cuda.is_available() else "cpu",
        torch.bfloat16 if machine_defaults()["bf16"] else torch.float32,
    )
    seconds = 0.0
    for i in range(round(epochs * len(batches))):
        batch = batches[i % len(batches)]
        step = roof(384, len(batch) * batch.max(), device, dtype)
        began = time.perf_counter()
        step()
        if device == "cuda":
            torch.cuda.synchronize()
        seconds += time.perf_counter() - began
    return {
        "test_accuracy": float("nan"),
        "train_runtime": seconds,
        "train_samples_per_second": epochs * len(lengths) / seconds,
    }


def run_one(given: argparse.Namespace) -> None:
    """Run one training in this process; prints its figures as JSON on the last line."""
    from adaptkit.utils.hardware import peak_memory

    folder, seed = Path(given.folder), given.seeds[0]
    name = given.contenders[0]
    if name == "products":
        found = products_alone(folder, given.epochs, seed)
    elif name in ("adaptkit", "launched"):
        found = with_adaptkit(
            folder, given.epochs, seed, *(("--cuda_graphs", "false") if name == "launched" else ())
        )
    else:
        found = with_trainer(name, folder, given.epochs, seed)
    kept = {
        key: found[key] for key in ("test_accuracy", "train_runtime", "train_samples_per_second")
    }
    print(json.dumps(kept | {"memory": peak_memory()}))


def start(folder: Path, name: str, seed: int, given: argparse.Namespace) -> dict[str, float]:
    """Run one training in its own process."""
    command = [
        sys.executable,
        __file__,
        "--contenders",
        name,
        "--seeds",
        str(seed),
        "--epochs",
        str(given.epochs),
    ]
    environment = os.environ | ({"CUDA_VISIBLE_DEVICES": ""} if given.device == "cpu" else {})
    began = time.perf_counter()
    done = subprocess.run(
        [*command, "--folder", str(folder)], capture_output=True, text=True, env=environment
    )
    if done.returncode:
        sys.exit(done.stderr[-3000:])
    return json.loads(done.stdout.splitlines()[-1]) | {"whole": time.perf_counter() - began}


def line(name: str, runs: list[dict[str, float]], ours: list[dict[str, float]] | None) -> str:
    """A line of the table: median seconds, mean scores, and the time relative to adaptkit's."""
    middle = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
    each = " ".join(f"{run['test_accuracy']:.4f}" for run in runs)
    accuracy = (
        f"{statistics.mean(run['test_accuracy'] for run in runs):.4f} ({each})"
        if name != "products"
        else "-"
    )
    times = [
        f"{middle[key] / statistics.median(run[key] for run in ours):.1f}" if ours else "-"
        for key in ("train_runtime", "whole")
    ]
    return (
        f"| {name} | {middle['train_runtime']:.0f} | {middle['train_samples_per_second']:.0f} | "
        f"{middle['whole']:.0f} | "
        f"{' | '.join(times)} | {accuracy} | {middle['memory']:.2f} |"
    )


def main() -> None:
    """Train everything and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--contenders", nargs="+", choices=CONTENDERS, help="default: all that the device has"
    )
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--epochs", type=float, default=3)
    parser.add_argument(
        "--once",
        nargs="*",
        default=[],
        choices=CONTENDERS,
        help="contenders that run with the first seed only",
    )
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.folder:
        run_one(given)
        return
    given.contenders = given.contenders or [
        name for name in CONTENDERS if given.device == "cuda" or name != "launched"
    ]
    if not (data := os.environ.get("ADAPTKIT_DATA")):
        sys.exit("ADAPTKIT_DATA is not set: it names the folder that holds data/sst2")
    from sst2 import convert

    with tempfile.TemporaryDirectory() as work:
        for split in ("train", "dev", "test"):
            convert(Path(data) / "data/sst2" / f"stsa.binary.{split}", Path(work) / f"{split}.tsv")
        runs: dict[str, list[dict[str, float]]] = {name: [] for name in given.contenders}
        for seed in given.seeds:
            for name in given.contenders:
                if name in given.once and seed != given.seeds[0]:
                    continue
                runs[name].append(start(Path(work), name, seed, given))
                print(f"seed {seed} {name}: {runs[name][-1]}", file=sys.stderr, flush=True)
    print(
        "| run | training, s | examples/s | whole, s | training / ours | whole / ours | test "
        "accuracy (each seed) | memory, GB |"
    )
    print("|" + "---|" * 8)
    for name, found in runs.items():
        print(line(name, found, runs.get("adaptkit")))


if __name__ == "__main__":
    main()
