"""Transfer to a task with 200 labels: warm start, fusion, many tasks at once.

    ADAPTKIT_DATA=... python benchmarks/few_labels.py [--hows plain "warm start"] [--seeds 1 2 3]
        [--work DIR]

Base all-MiniLM-L6-v2, method bottleneck[placement=pfeiffer]. Seven sources, at most 3,000 rows,
four epochs at 2e-3: sentiment of phrases up to six words (6,000 rows), news of the world or sports,
similarity, relations, names, reviews in Chinese, and 120 intents of eight domains (12,000 rows).
Targets, 200 labelled rows, other rows and seeds each time: sentiment of sentences (SST-2), the 30
intents of two other domains (CLINC150), business or technology (AG News); at most 2,000 rows to
test. All 200 rows are trained on, 15 epochs in batches of 8 at 2e-3, and the last epoch is kept.
`chosen` is the source that `adaptkit sources` ranks first, from the same 200 rows. Many tasks: the
chosen source's rows and the target's under one adapter, three epochs in batches of 32. `--work`
keeps what is trained and resumes from there. rank_sources.py measures how well sources are ranked.
"""

import argparse
import csv
import json
import os
import random
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from recipe_runs import data_folder, once, over_seeds, write_sst2

METHOD = ("--method", "bottleneck[placement=pfeiffer]")
LABELS, EPOCHS = 200, 15
SETTINGS = (
    "--learning_rate",
    "2e-3",
    "--per_device_train_batch_size",
    "8",
    "--validation_split_percentage",
    "0",
)
TARGETS = ("sentences", "intents", "news")
TESTED = 2000  # maximum number of rows
HELD_OUT = ("travel", "kitchen_and_dining")  # domains of the target's intents
SOURCES = ("--num_train_epochs", "4", "--learning_rate", "2e-3")
TOGETHER = ("--learning_rate", "2e-3", "--sampling_temperature", "3")
HOWS = ("plain", "warm start", "fusion", "many tasks")
PAIRS = {
    "column_names": [
        "index",
        "genre",
        "file",
        "year",
        "old_index",
        "source1",
        "source2",
        "sentence1",
        "sentence2",
        "score",
    ],
    "text_column": "sentence1",
    "text_pair_column": "sentence2",
    "score_column": "score",
}
Rows = list[tuple[str, str]]


def write(file: Path, rows: Rows) -> str:
    """Write rows as JSON lines; returns the file's name."""
    file.write_text(
        "".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in rows), "utf-8"
    )
    return str(file)


def some(rows: Rows, count: int, seed: int) -> Rows:
    """This many of the rows."""
    return random.Random(seed).sample(rows, min(count, len(rows)))


def agnews(name: str, kept: tuple[str, str]) -> Rows:
    """Rows with two of the four labels."""
    with (data_folder() / f"agnews/{name}.tsv").open(encoding="utf-8") as lines:
        return [
            (text, label)
            for text, label in csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
            if label in kept
        ]


def gather(folder: Path) -> tuple[dict[str, dict[str, Any]], dict[str, tuple[Rows, Rows]]]:
    """The sources as recipes/multitask.py reads them, and each target's rows to draw and test."""
    data = data_folder()
    phrases = [
        line.rpartition("\t")
        for line in (data / "sst2_phrases/train.tsv").read_text("utf-8").splitlines()[1:]
    ]
    short = [
        (text.strip(), label.strip())
        for text, _, label in phrases
        if text.strip() and len(text.split()) <= 6
    ]
    clinc = json.loads((data / "clinc150/data_full.json").read_text("utf-8"))
    domains = json.loads((data / "clinc150/domains.json").read_text("utf-8"))
    held = {intent for domain in HELD_OUT for intent in domains[domain]}
    reviews = [
        line.rsplit("\t", 1)
        for line in (data / "chnsenticorp/train.txt").read_text("utf-8-sig").splitlines()
        if line.strip()
    ]
    conll = (data / "conll2003/train.txt").read_text("utf-8").split("\n\n")
    (folder / "names.txt").write_text("\n\n".join(conll[:3000]) + "\n", "utf-8")
    cases = (
        (data / "semeval2010_task8/TRAIN_FILE.TXT")
        .read_text("utf-8")
        .replace("\r", "")
        .split("\n\n")
    )
    (folder / "relations.txt").write_text("\n\n".join(cases[:3000]) + "\n\n", "utf-8")
    lines = (data / "stsb/train.tsv").read_text("utf-8").splitlines()[:3000]
    (folder / "similarity.tsv").write_text("\n".join(lines) + "\n", "utf-8")

    def classes(name: str, rows: Rows, count: int = 3000) -> dict[str, Any]:
        return {
            "recipe": "classify",
            "train_file": write(folder / f"{name}.jsonl", some(rows, count, 0)),
        }

    sources = {
        "phrases": classes("phrases", short, 6000),
        "other-intents": classes(
            "other-intents", [(t, i) for t, i in clinc["train"] if i not in held], 12_000
        ),
        "other-news": classes("other-news", agnews("dev", ("World", "Sports"))),
        "chinese": classes("chinese", [(text, label) for text, label in reviews]),
        "similarity": {"recipe": "score", "train_file": str(folder / "similarity.tsv"), **PAIRS},
        "relations": {"recipe": "relate", "train_file": str(folder / "relations.txt")},
        "names": {"recipe": "tag", "train_file": str(folder / "names.txt")},
    }
    write_sst2(folder)

    def sst2(split: str) -> Rows:
        with (folder / f"{split}.tsv").open(encoding="utf-8") as table:
            rows = list(csv.DictReader(table, delimiter="\t", quoting=csv.QUOTE_NONE))
        return [(row["text"], row["label"]) for row in rows]

    targets = {
        "sentences": (sst2("train"), some(sst2("test"), TESTED, 0)),
        "intents": (
            [(text, intent) for text, intent in clinc["train"] if intent in held],
            some([(text, intent) for text, intent in clinc["test"] if intent in held], TESTED, 0),
        ),
        "news": (
            agnews("dev", ("Business", "Sci/Tech")),
            some(agnews("test", ("Business", "Sci/Tech")), TESTED, 0),
        ),
    }
    return sources, targets


def scores(file: str, store: Path) -> dict[str, dict[str, float]]:
    """Scores of each source for a target without training, stored beside the target's file."""
    if (kept := Path(file).with_suffix(f".{store.name}.scores.json")).exists():
        return json.loads(kept.read_text())
    from adaptkit.data.readers.options import Reading
    from adaptkit.data.readers.read import read
    from adaptkit.tasks.classify import Classify
    from adaptkit.transfer.rank_sources import rank

    task = Classify()
    found = rank(task.read(read(file, Reading(wanted=task.wanted()))), [], str(store))
    told = {row["source"]: row for row in found if (store / row["source"]).is_dir()}
    kept.write_text(json.dumps(told))
    return told


class Target:
    """A target task with the labelled rows of one seed.

    With more rows, the same number is read in total, in fewer epochs.
    """

    def __init__(
        self, folder: Path, name: str, seed: int, rows: Rows, test: Rows, labels: int = LABELS
    ) -> None:
        self.name, self.seed, self.folder = name, seed, folder
        self.called = name if labels == LABELS else f"{name}-{labels}"
        self.epochs = ("--num_train_epochs", str(max(1, round(EPOCHS * LABELS / labels))))
        self.train_file = write(folder / f"{self.called}-{seed}.jsonl", some(rows, labels, seed))
        self.test_file = write(folder / f"{name}-test.jsonl", test)

    def train(self, how: str, *flags: str) -> float:
        """Test accuracy of recipes/classify.py with these flags."""
        files = ("--train_file", self.train_file, "--test_file", self.test_file)
        return once(
            "classify",
            self._out(how),
            *files,
            *SETTINGS,
            *self.epochs,
            *flags,
            "--seed",
            str(self.seed),
        )["test_accuracy"]

    def train_beside(self, how: str, source: dict[str, str]) -> float:
        """Test accuracy when the rows of a source are trained with it, under one adapter."""
        mine = {
            "recipe": "classify",
            "train_file": self.train_file,
            "test_file": self.test_file,
            "validation_split_percentage": 0,
        }
        tasks = self.folder / f"{self.name}-{self.seed}.yaml"
        tasks.write_text(json.dumps({"target": mine, "source": source}), "utf-8")  # JSON is YAML
        flags = ("--tasks", str(tasks), *METHOD, *TOGETHER, "--seed", str(self.seed))
        return once("multitask", self._out(how), *flags, metric="target_test_accuracy")[
            "target_test_accuracy"
        ]

    def _out(self, how: str) -> Path:
        return self.folder / f"{self.called}-{how}-{self.seed}".replace(" ", "-")


def train_sources(
    sources: dict[str, dict[str, Any]], store: Path, pool: ThreadPoolExecutor
) -> None:
    """Train an adapter of each source, in `store`."""

    def train(name: str) -> None:
        flags = {key: value for key, value in sources[name].items() if key != "recipe"}
        words = [
            word
            for key, value in flags.items()
            for word in (f"--{key}", *([value] if isinstance(value, str) else value))
        ]
        once(sources[name]["recipe"], store / name, *words, *METHOD, *SOURCES)

    list(pool.map(train, sources))


def flags(about: str | None) -> argparse.ArgumentParser:
    """The flags of benchmarks over these sources."""
    parser = argparse.ArgumentParser(
        description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument(
        "--jobs", type=int, default=2, help="recipes that run at the same time, one core each"
    )
    parser.add_argument("--work", help="folder to keep all results in (default: none)")
    return parser


@contextmanager
def trained_sources(
    given: argparse.Namespace,
) -> Iterator[tuple[Path, ThreadPoolExecutor, dict, dict]]:
    """The folder with the sources' adapters in its `store`, a recipe runner, sources, targets."""
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as work, ThreadPoolExecutor(given.jobs) as pool:
        folder = Path(given.work or work)
        folder.mkdir(exist_ok=True)
        sources, drawn = gather(folder)
        train_sources(sources, folder / "store", pool)
        yield folder, pool, sources, drawn


def main() -> None:
    """Train all and print the table."""
    parser = flags(__doc__)
    parser.add_argument("--by", default="neighbours", help="score that chooses the source")
    parser.add_argument(
        "--hows", nargs="+", choices=HOWS, default=HOWS, help="ways to compare (default: all)"
    )
    given = parser.parse_args()
    from adaptkit.transfer.rank_sources import sort_key

    with trained_sources(given) as (folder, pool, sources, drawn):
        store = folder / "store"
        warm = {name: (*METHOD, "--warm_start", str(store / name)) for name in sources}
        fuse = ("--fuse", *(str(store / name) for name in sources))
        targets = [
            Target(folder, name, seed, *drawn[name]) for seed in given.seeds for name in TARGETS
        ]
        told = {one: scores(one.train_file, store) for one in targets}
        work_list: list[tuple[Target, str, Callable[[], float]]] = []
        for one in targets:
            chosen = max(told[one], key=lambda name: sort_key(told[one][name], given.by))
            print(f"{one.name}, seed {one.seed}: chosen {chosen}", file=sys.stderr, flush=True)
            trainings = {
                "plain": partial(one.train, "plain", *METHOD),
                "fusion": partial(one.train, "fusion", *fuse),
                "many tasks": partial(one.train_beside, f"beside {chosen}", sources[chosen]),
                "warm start": partial(one.train, f"from {chosen}", *warm[chosen]),
            }
            work_list += [(one, how, trainings[how]) for how in given.hows]
        values = pool.map(lambda job: job[2](), work_list)
        found = {
            (one.name, how, one.seed): value
            for (one, how, _), value in zip(work_list, values, strict=True)
        }
    show_gains(found, given.hows, given.seeds)


def show_gains(found: dict[tuple[str, str, int], float], hows: list[str], seeds: list[int]) -> None:
    """Print the accuracies of each way to use sources."""
    print("| target | " + " | ".join(hows) + " |")
    print("|---|" + "---|" * len(hows))
    for target in TARGETS:
        print(
            f"| {target} | "
            + " | ".join(over_seeds([found[target, how, seed] for seed in seeds]) for how in hows)
            + " |"
        )
    means = [
        statistics.mean(found[target, how, seed] for target in TARGETS for seed in seeds)
        for how in hows
    ]
    print("| mean | " + " | ".join(f"{value:.4f}" for value in means) + " |\n")


if __name__ == "__main__":
    main()
