"""Pretraining in Chinese: a small BERT from scratch, adapted to sentiment and entities.

    ADAPTKIT_DATA=... python benchmarks/chinese.py [--epochs 4] [--work runs/chinese]

1. The Chinese training texts under $ADAPTKIT_DATA/data (reviews, news, sentences, without their
   labels) become one text file.
2. recipes/pretrain.py trains a tokenizer and a BERT of 4 layers, 256 wide, on it, in about an hour
   on one core.
3. recipes/classify.py (ChnSentiCorp) and recipes/tag.py (CLUENER 2020; its dev rows are the test)
   adapt it, and the same untrained network with the same tokenizer, by LoRA over the frozen network
   and by training all weights, for one epoch and for four.

Prints a Markdown table. Results that are already in --work are not trained again.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
SIZE = "hidden_size=256,num_hidden_layers=4,num_attention_heads=4,intermediate_size=1024"
METHODS = {
    "lora": ["--method", "lora", "--learning_rate", "1e-3"],
    "full": ["--method", "full", "--learning_rate", "3e-4"],
}
SHORT = ["--max_seq_length", "64", "--per_device_train_batch_size", "32"]


def gather(data: Path, target: Path) -> int:
    """All Chinese training texts, one per line, and their number of characters."""
    lines = [
        line.rsplit("\t", 1)[0]
        for line in (data / "chnsenticorp/train.txt").read_text("utf-8-sig").split("\n")
        if line
    ]
    lines += [
        json.loads(line)["text"]
        for line in (data / "cluener2020/train.jsonl").read_text("utf-8").split("\n")
        if line
    ]
    lines += dict.fromkeys(
        line.split("\t")[1]
        for line in (data / "tatoeba_en_zh/cmn.txt").read_text("utf-8").split("\n")
        if line
    )
    lines = [line.strip() for line in lines if line.strip()]
    target.write_text("\n".join(lines) + "\n", "utf-8")
    return sum(map(len, lines))


def recipe(name: str, out: Path, *flags: str) -> dict:
    """Run a recipe unless it has already run."""
    if not (out / "all_results.json").is_file():
        words = [
            sys.executable,
            str(ROOT / f"recipes/{name}.py"),
            *flags,
            "--output_dir",
            str(out),
            "--disable_tqdm",
            "true",
        ]
        print(" ".join(words[1:]), file=sys.stderr, flush=True)
        done = subprocess.run([*words, "--overwrite_output_dir"], capture_output=True, text=True)
        if done.returncode:
            sys.exit(done.stderr[-3000:])
    return json.loads((out / "all_results.json").read_text())


def main() -> None:
    """Pretrain, adapt and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--epochs", default="4")
    parser.add_argument("--work", type=Path, default=Path("runs/chinese"))
    given = parser.parse_args()
    folder = os.environ.get("ADAPTKIT_DATA")
    if not folder:
        sys.exit("ADAPTKIT_DATA is not set: it names the folder that holds data/")
    data, work = Path(folder) / "data", given.work.absolute()
    work.mkdir(parents=True, exist_ok=True)
    characters = gather(data, work / "chinese.txt")
    flags = [
        "--train_file",
        str(work / "chinese.txt"),
        "--format",
        "lines",
        "--model_type",
        "bert",
        "--config_overrides",
        SIZE,
    ]
    flags += [
        "--vocab_size",
        "6000",
        "--max_seq_length",
        "128",
        "--num_train_epochs",
        given.epochs,
        "--mlm_probability",
        "0.15",
    ]
    flags += ["--validation_split_percentage", "2"]
    found = recipe("pretrain", work / "bert", *flags, "--per_device_train_batch_size", "32")
    print(
        f"pretrained on {characters:,} characters, {given.epochs} epochs, "
        f"{found['train_runtime'] / 60:.0f} min: "
        f"perplexity of hidden tokens {found['eval_perplexity']:.1f}\n",
        flush=True,
    )
    print("| data | method | untrained | pretrained | gain |\n|---|---|---|---|---|", flush=True)
    chn, clue = data / "chnsenticorp", data / "cluener2020"
    sentiment = ["--train_file", str(chn / "train.txt"), "--validation_file", str(chn / "dev.txt")]
    sentiment += ["--test_file", str(chn / "test.txt")]
    entities = ["--train_file", str(clue / "train.jsonl"), "--test_file", str(clue / "dev.jsonl")]
    for title, name, rows, metric in (
        ("ChnSentiCorp", "classify", [*sentiment, "--num_train_epochs", "1"], "accuracy"),
        ("CLUENER 2020", "tag", [*entities, "--num_train_epochs", "4"], "f1"),
    ):
        for method, settings in METHODS.items():
            scores = [
                recipe(
                    name,
                    work / f"{name}-{method}-{base}",
                    *rows,
                    *settings,
                    *SHORT,
                    "--model_name_or_path",
                    str(path),
                )
                for base, path in (("untrained", work / "bert/base"), ("pretrained", work / "bert"))
            ]
            before, after = (score[f"test_{metric}"] for score in scores)
            print(
                f"| {title}, {metric} | {method} | {before:.4f} | {after:.4f} | "
                f"{after - before:+.4f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
