"""Eight, 16 and 64 rows a label: the recipe's defaults, a linear probe, and SetFit's recipe.

    ADAPTKIT_DATA=... python benchmarks/few_shot.py [--sets ...] [--rows 8 16 64] [--draws 0 1 2]
        [--contenders ...] [--e5 FOLDER] [--work DIR]

Base all-MiniLM-L6-v2; for the reviews in Chinese multilingual-e5-small (`--e5`), with at most 64
tokens. At most 1,000 rows to test. Each contender gets the same rows, in a process of its own with
one thread; the seconds are those of the processor, from its start to the answers to the test rows.

probe        the base's sentence embeddings, scikit-learn's logistic regression with its defaults
setfit       SetFit's recipe with sentence-transformers' own trainer: CosineSimilarityLoss over 20
             pairs of one label and 20 of two for each row, at most 400 steps of 16 pairs, all
             weights at 2e-5, bf16; then that logistic regression
adaptkit     `adaptkit train classify`, all rows, defaults
unlabelled   the same, with up to 2,000 other training rows as --unlabelled_file
native       as adaptkit, with the architecture's own head from random weights, as in version 0.3

`--rows 0` trains on all rows, and cuts validation rows off. What is in `--work` is not run again.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from recipe_runs import recipe
from text_sets import MINILM, SETS, Rows, few, tested

PAIRS, STEPS, BATCH = 20, 400, 16
UNLABELLED = 2000
NATIVE = ("--pooling", "native", "--head_start", "random")


def embedder(base: str, most: int) -> Any:
    """The base as sentence-transformers loads it; without files of its own, mean pooling."""
    from sentence_transformers import SentenceTransformer

    from adaptkit.models.names import resolve

    model = SentenceTransformer(resolve(base), device="cpu")
    model.max_seq_length = most
    return model


def logistic(model: Any, train: Rows, test: Rows) -> float:
    """Accuracy of a logistic regression on embeddings."""
    from sklearn.linear_model import LogisticRegression

    texts, labels = zip(*train, strict=True)
    fitted = LogisticRegression(max_iter=1000).fit(model.encode(texts), labels)
    texts, labels = zip(*test, strict=True)
    return float(fitted.score(model.encode(texts), labels))


def probe(train: Rows, test: Rows, base: str, most: int, seed: int) -> float:
    return logistic(embedder(base, most), train, test)


def pairs(rows: Rows, draw: random.Random) -> dict[str, list]:
    """For each row `PAIRS` times one of its label and one of another; all distinct if there are."""
    by_label: dict[str, list[str]] = {}
    for text, label in rows:
        by_label.setdefault(label, []).append(text)
    found: dict[str, list] = {"sentence1": [], "sentence2": [], "label": []}
    for text, label in rows:
        for _ in range(PAIRS):
            other = draw.choice([name for name in by_label if name != label])
            for chosen, value in ((label, 1.0), (other, 0.0)):
                found["sentence1"].append(text)
                found["sentence2"].append(draw.choice(by_label[chosen]))
                found["label"].append(value)
    return found


def setfit(train: Rows, test: Rows, base: str, most: int, seed: int) -> float:
    from datasets import Dataset
    from sentence_transformers import SentenceTransformerTrainer as Trainer
    from sentence_transformers import SentenceTransformerTrainingArguments as Arguments
    from sentence_transformers.sentence_transformer.losses import CosineSimilarityLoss

    model = embedder(base, most)
    data = Dataset.from_dict(pairs(train, random.Random(seed)))
    with tempfile.TemporaryDirectory() as work:
        arguments = Arguments(
            output_dir=work,
            max_steps=min(STEPS, len(data) // BATCH),
            per_device_train_batch_size=BATCH,
            learning_rate=2e-5,
            warmup_steps=0.1,
            use_cpu=True,
            bf16=True,
            seed=seed,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )
        Trainer(
            model=model, args=arguments, train_dataset=data, loss=CosineSimilarityLoss(model)
        ).train()
    return logistic(model, train, test)


def adaptkit(train: Rows, test: Rows, base: str, most: int, seed: int, *flags: str) -> float:
    with tempfile.TemporaryDirectory() as work:
        words = ["--model_name_or_path", base, "--max_seq_length", str(most), "--seed", str(seed)]
        for split, rows in (("train", train), ("test", test)):
            file = Path(work) / f"{split}.jsonl"
            lines = (json.dumps({"text": text, "label": label}) + "\n" for text, label in rows)
            file.write_text("".join(lines), "utf-8")
            words += [f"--{split}_file", str(file)]
        return recipe("classify", Path(work) / "out", *words, *flags)["test_accuracy"]


CONTENDERS = ("probe", "setfit", "adaptkit", "unlabelled", "native")


def run(contender: str, name: str, count: int, draw: int, e5: str) -> float:
    """The accuracy of one contender."""
    every, test = SETS[name]()
    train, test = few(every, count, draw), tested(test, 1000)
    base, most = (e5, 64) if name == "reviews" else (MINILM, 128)
    if contender in ("probe", "setfit"):
        return {"probe": probe, "setfit": setfit}[contender](train, test, base, most, draw)
    flags = NATIVE if contender == "native" else ()
    if count:
        flags = (*flags, "--validation_split_percentage", "0")
    if contender != "unlabelled":
        return adaptkit(train, test, base, most, draw, *flags)
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl", encoding="utf-8") as file:
        others = random.Random(draw).sample(every, min(UNLABELLED, len(every)))
        file.write("".join(json.dumps({"text": text}) + "\n" for text, _ in others))
        file.flush()
        return adaptkit(train, test, base, most, draw, "--unlabelled_file", file.name, *flags)


def once(work: Path, *key: str) -> dict[str, float]:
    """Run one contender in a process of its own, or read what it left."""
    file = work / f"{'-'.join(key[:4])}.json"
    if not file.exists():
        command = [sys.executable, __file__, "--one", *key]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        before = _seconds()
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        if done.returncode:
            sys.exit(f"{' '.join(command)}\n{done.stderr[-3000:]}")
        accuracy = float(done.stdout.splitlines()[-1])
        file.write_text(json.dumps({"accuracy": accuracy, "seconds": _seconds() - before}))
        print(file.stem, file.read_text(), file=sys.stderr, flush=True)
    return json.loads(file.read_text())


def _seconds() -> float:
    """Processor seconds of all processes that were started from here and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def cell(runs: list[dict[str, float]]) -> str:
    """Mean and values of the accuracies, and the mean of the seconds."""
    values = [one["accuracy"] for one in runs]
    seconds = statistics.mean(one["seconds"] for one in runs)
    each = " ".join(f"{value:.3f}" for value in values)
    return f"{statistics.mean(values):.4f} ({each}), {seconds:.0f} s"


def main() -> None:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--rows", nargs="+", type=int, default=[8, 16, 64])
    parser.add_argument("--draws", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=list(CONTENDERS))
    parser.add_argument("--e5", default="intfloat/multilingual-e5-small")
    parser.add_argument("--work", default="runs/few_shot")
    parser.add_argument("--one", nargs=5, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        contender, name, count, draw, e5 = given.one
        print(run(contender, name, int(count), int(draw), e5))
        return
    work = Path(given.work)
    work.mkdir(parents=True, exist_ok=True)
    print("| set | rows a label | " + " | ".join(given.contenders) + " |")
    print("|---|---|" + "---|" * len(given.contenders))
    means: dict[str, list[float]] = {contender: [] for contender in given.contenders}
    for name in given.sets:
        for count in given.rows:
            cells = []
            for contender in given.contenders:
                keys = ((contender, name, str(count), str(d), given.e5) for d in given.draws)
                runs = [once(work, *key) for key in keys]
                means[contender] += [one["accuracy"] for one in runs]
                cells.append(cell(runs))
            print(f"| {name} | {count or 'all'} | " + " | ".join(cells) + " |", flush=True)
    print("| mean | | " + " | ".join(f"{statistics.mean(v):.4f}" for v in means.values()) + " |")


if __name__ == "__main__":
    main()
