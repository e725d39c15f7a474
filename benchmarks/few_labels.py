"""What other tasks give to one with 200 labels: warm start, fusion, many tasks at once; and whether sources are ranked rightly.

    ADAPTKIT_DATA=... python benchmarks/few_labels.py [--seeds 1 2 3] [--jobs 2]

Base all-MiniLM-L6-v2, method bottleneck[placement=pfeiffer]. Seven sources, at most 3,000 rows (phrases: 6,000), two epochs each:
sentiment of phrases up to six words, intents of eight domains, news of the world or sports, similarity, relations, names, and
reviews in Chinese. Targets, 200 labelled rows (a tenth of them to choose the epoch), other rows and seeds each time: sentiment of
sentences (SST-2), the 30 intents of two other domains (CLINC150), business or technology (AG News); at most 1,000 rows to test.
`chosen` is the source that `adaptkit sources` puts first by LogME, from the same 200 rows. Many tasks: the chosen source's rows and
the target's under one adapter. For the first seed every source is tried, and its accuracy ranked beside its scores.
"""

import argparse
import csv
import json
import os
import random
import statistics
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from recipe_runs import data_folder, over_seeds, recipe, write_sst2

METHOD = ("--method", "bottleneck[placement=pfeiffer]")
TARGETS = ("sentences", "intents", "news")
HELD_OUT = ("travel", "kitchen_and_dining")  # domains of the target's intents
STSB = ("index", "genre", "file", "year", "old_index", "source1", "source2", "sentence1", "sentence2", "score")
Rows = list[tuple[str, str]]


def write(file: Path, rows: Rows) -> str:
    """Rows as JSON lines; the file's name."""
    file.write_text("".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in rows), "utf-8")
    return str(file)


def some(rows: Rows, count: int, seed: int) -> Rows:
    """So many of the rows."""
    return random.Random(seed).sample(rows, min(count, len(rows)))


def agnews(name: str, kept: tuple[str, str]) -> Rows:
    """Rows with two of the four labels."""
    with (data_folder() / f"agnews/{name}.tsv").open(encoding="utf-8") as lines:
        return [(text, label) for text, label in csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE) if label in kept]


def gather(folder: Path) -> tuple[dict[str, tuple[str, list[str]]], dict[str, tuple[Rows, Rows]]]:
    """name -> recipe and flags of each source; name -> rows to draw from, and rows to test, of each target."""
    data = data_folder()
    phrases = [line.rpartition("\t") for line in (data / "sst2_phrases/train.tsv").read_text("utf-8").splitlines()[1:]]
    short = [(text.strip(), label.strip()) for text, _, label in phrases if text.strip() and len(text.split()) <= 6]
    clinc = json.loads((data / "clinc150/data_full.json").read_text("utf-8"))
    domains = json.loads((data / "clinc150/domains.json").read_text("utf-8"))
    held = {intent for domain in HELD_OUT for intent in domains[domain]}
    reviews = [
        line.rsplit("\t", 1) for line in (data / "chnsenticorp/train.txt").read_text("utf-8-sig").splitlines() if line.strip()
    ]
    conll = (data / "conll2003/train.txt").read_text("utf-8").split("\n\n")
    (folder / "names.txt").write_text("\n\n".join(conll[:3000]) + "\n", "utf-8")
    cases = (data / "semeval2010_task8/TRAIN_FILE.TXT").read_text("utf-8").replace("\r", "").split("\n\n")
    (folder / "relations.txt").write_text("\n\n".join(cases[:3000]) + "\n\n", "utf-8")
    lines = (data / "stsb/train.tsv").read_text("utf-8").splitlines()[:3000]
    (folder / "similarity.tsv").write_text("\n".join(lines) + "\n", "utf-8")

    def classes(name: str, rows: Rows, count: int = 3000) -> tuple[str, list[str]]:
        return "classify", ["--train_file", write(folder / f"{name}.jsonl", some(rows, count, 0))]

    pair = ["--text_column", "sentence1", "--text_pair_column", "sentence2", "--score_column", "score"]
    sources = {
        "phrases": classes("phrases", short, 6000),
        "other-intents": classes("other-intents", [(t, i) for t, i in clinc["train"] if i not in held]),
        "other-news": classes("other-news", agnews("dev", ("World", "Sports"))),
        "chinese": classes("chinese", [(text, label) for text, label in reviews]),
        "similarity": ("score", ["--train_file", str(folder / "similarity.tsv"), "--column_names", *STSB, *pair]),
        "relations": ("relate", ["--train_file", str(folder / "relations.txt")]),
        "names": ("tag", ["--train_file", str(folder / "names.txt")]),
    }
    write_sst2(folder)

    def sst2(split: str) -> Rows:
        with (folder / f"{split}.tsv").open(encoding="utf-8") as table:
            rows = list(csv.DictReader(table, delimiter="\t", quoting=csv.QUOTE_NONE))
        return [(row["text"], row["label"]) for row in rows]

    targets = {
        "sentences": (sst2("train"), some(sst2("test"), 1000, 0)),
        "intents": tuple([(t, i) for t, i in clinc[split] if i in held] for split in ("train", "test")),
        "news": (agnews("dev", ("Business", "Sci/Tech")), some(agnews("test", ("Business", "Sci/Tech")), 1000, 0)),
    }
    return sources, targets


def spearman(first: list[float], second: list[float]) -> float:
    """Rank correlation."""
    from scipy.stats import spearmanr

    return float(spearmanr(first, second).statistic)


def scores(file: str, store: Path) -> dict[str, dict[str, float]]:
    """Scores of each source (the bare base is `none`) for a target, without training."""
    from adaptkit.readers import Reading, read
    from adaptkit.tasks.classify import Classify
    from adaptkit.transfer.sources_command import rank

    task = Classify()
    found = rank(task.read(read(file, Reading(wanted=task.wanted()))), [], str(store))
    return {row["source"] if (store / row["source"]).is_dir() else "none": row for row in found}


def main() -> None:
    """Train all, print the two tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--jobs", type=int, default=2, help="recipes that run at the same time, one core each")
    given = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    work = tempfile.TemporaryDirectory()
    folder = Path(work.name)
    store = folder / "store"
    sources, targets = gather(folder)
    found: dict[tuple[str, str, int], float] = {}
    ranked: dict[str, dict[str, dict[str, float]]] = {}

    def train_source(name: str) -> None:
        kind, flags = sources[name]
        recipe(kind, store / name, *flags, *METHOD, "--num_train_epochs", "2")

    def train_target(target: str, how: str, seed: int, kind: str, *more: str) -> None:
        name = f"{target}-{how}-{seed}".replace(" ", "-")
        files = ["--train_file", str(folder / f"{target}-{seed}.jsonl"), "--test_file", str(folder / f"{target}-test.jsonl")]
        if kind == "multitask":
            tasks = folder / f"{name}.yaml"
            other, flags = sources[more[0]]
            words = {flags[i][2:]: flags[i + 1] for i in range(0, len(flags), 2)} if "--column_names" not in flags else {}
            if not words:
                words = {"train_file": flags[1], "column_names": list(STSB), "text_column": "sentence1"}
                words |= {"text_pair_column": "sentence2", "score_column": "score"}
            mine = {"recipe": "classify", "train_file": files[1], "test_file": files[3]}
            tasks.write_text(json.dumps({"target": mine, "source": {"recipe": other, **words}}), "utf-8")  # JSON is YAML
            flags = ["--tasks", str(tasks), *METHOD, "--sampling_temperature", "3", "--seed", str(seed)]
            found[target, how, seed] = recipe(kind, folder / name, *flags, metric="target_test_accuracy")["target_test_accuracy"]
            return
        flags = [*files, *more, "--seed", str(seed)]
        found[target, how, seed] = recipe(kind, folder / name, *flags)["test_accuracy"]

    with ThreadPoolExecutor(given.jobs) as pool:
        list(pool.map(train_source, sources))
    work_list = []
    for target, (rows, test) in targets.items():
        write(folder / f"{target}-test.jsonl", test)
        for seed in given.seeds:
            file = write(folder / f"{target}-{seed}.jsonl", some(rows, 200, seed))
            told = scores(file, store)
            chosen = max((name for name in told if name != "none"), key=lambda name: told[name]["log_me"])
            print(f"{target}, seed {seed}: chosen {chosen}", file=sys.stderr, flush=True)
            if seed == given.seeds[0]:
                ranked[target] = told
            each = sources if seed == given.seeds[0] else (chosen,)
            work_list += [(target, f"from {name}", seed, "classify", *METHOD, "--warm_start", str(store / name)) for name in each]
            work_list.append((target, "plain", seed, "classify", *METHOD))
            work_list.append((target, "fusion", seed, "classify", "--fuse", *(str(store / name) for name in sources)))
            work_list.append((target, "many tasks", seed, "multitask", chosen))
            found[target, "chosen", seed] = chosen  # type: ignore[assignment]
    with ThreadPoolExecutor(given.jobs) as pool:
        list(pool.map(lambda job: train_target(*job), work_list))
    for target in targets:
        for seed in given.seeds:
            found[target, "warm start", seed] = found[target, f"from {found[target, 'chosen', seed]}", seed]
    show(found, ranked, list(sources), given.seeds)


def show(found: dict, ranked: dict, sources: list[str], seeds: list[int]) -> None:
    """The tables."""
    hows = ("plain", "warm start", "fusion", "many tasks")
    print("| target | " + " | ".join(hows) + " |")
    print("|---|" + "---|" * len(hows))
    for target in TARGETS:
        print(f"| {target} | " + " | ".join(over_seeds([found[target, how, seed] for seed in seeds]) for how in hows) + " |")
    means = {how: statistics.mean(found[target, how, seed] for target in TARGETS for seed in seeds) for how in hows}
    print("| mean | " + " | ".join(f"{value:.4f}" for value in means.values()) + " |\n")
    names = ("log_me", "h_score", "probe", "neighbours")
    print("| target | source: accuracy after a warm start, LogME | " + " | ".join(f"Spearman {name}" for name in names) + " |")
    print("|---|---|" + "---|" * len(names))
    total: dict[str, list[float]] = {name: [] for name in names}
    for target, told in ranked.items():
        truth = [found[target, f"from {name}", seeds[0]] for name in sources]
        for name in names:
            total[name].append(spearman(truth, [told[source][name] for source in sources]))
        each = ", ".join(f"{name} {value:.3f} {told[name]['log_me']:.3f}" for name, value in zip(sources, truth, strict=True))
        print(f"| {target} | {each} | " + " | ".join(f"{total[name][-1]:.2f}" for name in names) + " |")
    print("| mean | | " + " | ".join(f"{statistics.mean(values):.2f}" for values in total.values()) + " |")


if __name__ == "__main__":
    main()
