"""How well `adaptkit sources` ranks sources: its scores and the accuracy after a warm start.

    ADAPTKIT_DATA=... python benchmarks/rank_sources.py [--targets ...] [--labels 200]
        [--seeds 1 2 3] [--work DIR]

Base, method, the seven sources and the settings are those of few_labels.py, and so are the first
three targets. Five more: the topic of news (four labels, AG News), the domain of a request (ten,
CLINC150), whether a request is in scope (two, CLINC150), how two marked words are related (ten,
SemEval 2010 task 8, direction left out), and what the first name in a sentence names (four,
CoNLL-2003). 200 labelled rows of each, others with each seed, none of them seen by a source; at
most 2,000 rows to test. Rank correlations (Spearman) are those of accuracy and score, both averaged
over the seeds; beside them, the mean of those of each single seed, and that of the accuracies of
two seeds: how well one training predicts another.
"""

import itertools
import json
import re
import statistics
from functools import partial
from typing import Any

from few_labels import (
    LABELS,
    METHOD,
    TARGETS,
    TESTED,
    Rows,
    Target,
    agnews,
    flags,
    scores,
    some,
    trained_sources,
)
from recipe_runs import data_folder

MORE = ("topics", "domains", "scope", "relation-kinds", "first-names")
Found = dict[tuple[str, str, int], float]  # (target, source, seed) -> test accuracy
Told = dict[tuple[str, int], dict[str, dict[str, Any]]]  # (target, seed) -> source -> its scores


def topics() -> tuple[Rows, Rows]:
    """News with one of four topics.

    Both halves of the test rows, since a source was trained on the others.
    """
    rows = some(agnews("test", ("World", "Sports", "Business", "Sci/Tech")), 1_000_000, 0)
    return rows[: len(rows) // 2], rows[len(rows) // 2 :]


def domains() -> tuple[Rows, Rows]:
    """Requests with one of ten domains."""
    folder = data_folder() / "clinc150"
    all_domains = json.loads((folder / "domains.json").read_text("utf-8"))
    domain = {intent: name for name, intents in all_domains.items() for intent in intents}
    clinc = json.loads((folder / "data_full.json").read_text("utf-8"))
    return [(text, domain[intent]) for text, intent in clinc["val"]], [
        (text, domain[intent]) for text, intent in clinc["test"]
    ]


def scope() -> tuple[Rows, Rows]:
    """Requests, half of them in scope."""
    clinc = json.loads((data_folder() / "clinc150/data_full.json").read_text("utf-8"))

    def both(inside: Rows, outside: Rows) -> Rows:
        return [(text, "in") for text, _ in some(inside, len(outside), 0)] + [
            (text, "out") for text, _ in outside
        ]

    return both(clinc["val"], clinc["oos_train"] + clinc["oos_val"]), both(
        clinc["test"], clinc["oos_test"]
    )


def relation_kinds() -> tuple[Rows, Rows]:
    """Sentences with two marked words and their relation, without the source's cases."""

    def cases(name: str) -> Rows:
        lines = (data_folder() / "semeval2010_task8" / name).read_text("utf-8").replace("\r", "")
        parts = [case.splitlines() for case in lines.split("\n\n") if case.strip()]
        return [
            (case[0].partition("\t")[2].strip('"'), case[1].partition("(")[0]) for case in parts
        ]

    return cases("TRAIN_FILE.TXT")[3000:], cases("TEST_FILE_FULL.TXT")


def first_names() -> tuple[Rows, Rows]:
    """Sentences with the type of their first named entity; those without one are left out."""

    def sentences(name: str) -> Rows:
        blocks = (data_folder() / "conll2003" / name).read_text("utf-8").split("\n\n")
        lines = [
            [line.split(" ") for line in block.splitlines()] for block in blocks if block.strip()
        ]
        named = [
            (" ".join(words[0] for words in block), re.findall(r"\bB-(\w+)", str(block)))
            for block in lines
        ]
        return [(text, kinds[0]) for text, kinds in named if kinds]

    return sentences("valid.txt"), sentences("test.txt")


def drawn_from(names: list[str], few: dict[str, tuple[Rows, Rows]]) -> dict[str, tuple[Rows, Rows]]:
    """Rows to draw from and rows to test of each target."""
    more = dict(zip(MORE, (topics, domains, scope, relation_kinds, first_names), strict=True))
    found = {name: few[name] if name in few else more[name]() for name in names}
    return {name: (rows, some(test, TESTED, 0)) for name, (rows, test) in found.items()}


def main() -> None:
    """Train from every source and print the tables."""
    parser = flags(__doc__)
    parser.add_argument(
        "--targets", nargs="+", choices=(*TARGETS, *MORE), default=[*TARGETS, *MORE]
    )
    parser.add_argument(
        "--labels",
        type=int,
        default=LABELS,
        help="labelled rows of a target, if it has that many (scope: 400)",
    )
    given = parser.parse_args()
    with trained_sources(given) as (folder, pool, sources, few):
        store = folder / "store"
        rows = drawn_from(given.targets, few)
        drawn = [
            Target(folder, name, seed, *rows[name], given.labels)
            for seed in given.seeds
            for name in given.targets
        ]
        runs = [(one, source) for one in drawn for source in sources]
        warm = [
            partial(one.train, f"from {name}", *METHOD, "--warm_start", str(store / name))
            for one, name in runs
        ]
        values = list(pool.map(lambda train: train(), warm))
        found = {
            (one.name, source, one.seed): value
            for (one, source), value in zip(runs, values, strict=True)
        }
        told = {(one.name, one.seed): scores(one.train_file, store) for one in drawn}
    show_ranking(found, told, list(sources), given.targets, given.seeds)
    if len(given.seeds) > 1:
        show_agreement(found, told, list(sources), given.targets, given.seeds)
    show_choices(found, told, list(sources), given.targets, given.seeds)


def spearman(one: list[float], other: list[float]) -> float:
    """Rank correlation."""
    from scipy.stats import spearmanr

    return float(spearmanr(one, other).statistic)


def show_agreement(
    found: Found, told: Told, sources: list[str], targets: list[str], seeds: list[int]
) -> None:
    """Print how well each score, and another training, predicts one training."""
    from adaptkit.transfer.source_scores import SCORES

    print(
        "| target | another seed | " + " | ".join(SCORES) + " |\n|---|---|" + "---|" * len(SCORES)
    )
    total: dict[str, list[float]] = {name: [] for name in ("another seed", *SCORES)}
    for target in targets:
        truth = {seed: [found[target, source, seed] for source in sources] for seed in seeds}
        total["another seed"].append(
            statistics.mean(
                spearman(truth[a], truth[b]) for a, b in itertools.combinations(seeds, 2)
            )
        )
        for name in SCORES:
            scored = {
                seed: [told[target, seed][source][name] for source in sources] for seed in seeds
            }
            total[name].append(
                statistics.mean(spearman(truth[seed], scored[seed]) for seed in seeds)
            )
        print(
            f"| {target} | " + " | ".join(f"{values[-1]:.2f}" for values in total.values()) + " |"
        )
    print(
        "| mean | "
        + " | ".join(f"{statistics.mean(values):.2f}" for values in total.values())
        + " |\n"
    )


def show_ranking(
    found: Found, told: Told, sources: list[str], targets: list[str], seeds: list[int]
) -> None:
    """Print the accuracy from each source, and how well each score predicts it."""
    from adaptkit.transfer.source_scores import SCORES

    print(
        "| target | "
        + " | ".join(sources)
        + " | "
        + " | ".join(f"Spearman {name}" for name in SCORES)
        + " |"
    )
    print("|---|" + "---|" * (len(sources) + len(SCORES)))
    total: dict[str, list[float]] = {name: [] for name in SCORES}
    for target in targets:
        truth = [
            statistics.mean(found[target, source, seed] for seed in seeds) for source in sources
        ]
        for name in SCORES:
            scored = [
                statistics.mean(told[target, seed][source][name] for seed in seeds)
                for source in sources
            ]
            total[name].append(spearman(truth, scored))
        cells = [f"{value:.3f}" for value in truth] + [f"{total[name][-1]:.2f}" for name in SCORES]
        print(f"| {target} | " + " | ".join(cells) + " |")
    print(
        "| mean |"
        + " |" * len(sources)
        + " "
        + " | ".join(f"{statistics.mean(values):.2f}" for values in total.values())
        + " |\n"
    )


def show_choices(
    found: Found, told: Told, sources: list[str], targets: list[str], seeds: list[int]
) -> None:
    """Print the accuracy from the source that each score ranks first."""
    from adaptkit.transfer.rank_sources import sort_key
    from adaptkit.transfer.source_scores import SCORES

    def first(target: str, seed: int, score: str) -> float:
        """Accuracy from the source that a score ranks first."""
        return found[
            target,
            max(sources, key=lambda source: sort_key(told[target, seed][source], score)),
            seed,
        ]

    drawn = list(itertools.product(targets, seeds))
    chosen = {name: [first(*one, name) for one in drawn] for name in SCORES}
    chosen["the best of each row"] = [
        max(found[target, source, seed] for source in sources) for target, seed in drawn
    ]
    chosen["drawn by chance"] = [
        found[target, source, seed] for target, seed in drawn for source in sources
    ]
    print("| the start is chosen by | mean accuracy |\n|---|---|")
    for name, values in chosen.items():
        print(f"| {name} | {statistics.mean(values):.4f} |")


if __name__ == "__main__":
    main()
