"""200 labelled rows: keep the best epoch on 20 of them, keep the last, or train on all rows?

    ADAPTKIT_DATA=... python benchmarks/few_rows.py [--targets ...] [--seeds 1 2 3] [--jobs 2]
        [--work DIR]

A plain adapter on the eight targets of rank_sources.py, with the settings of few_labels.py: 15
epochs in batches of 8 at 2e-3. Either 20 rows are split off and the best epoch on them is kept; or
they are split off and the last epoch is kept, as is the default; or all 200 are trained on
(`--validation_split_percentage 0`). At most 2,000 rows to test.
"""

import os
import statistics
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from few_labels import METHOD, TARGETS, Target, flags, gather
from rank_sources import MORE, drawn_from
from recipe_runs import over_seeds

CUT = ("--validation_split_percentage", "10")
CASES = {
    "the best epoch by 20 rows": (*CUT, "--load_best_model_at_end", "true"),
    "the last epoch": CUT,
    "all rows, the last epoch": (),
}


def main() -> None:
    """Train all and print the table."""
    parser = flags(__doc__)
    parser.add_argument(
        "--targets", nargs="+", choices=(*TARGETS, *MORE), default=[*TARGETS, *MORE]
    )
    given = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as work, ThreadPoolExecutor(given.jobs) as pool:
        folder = Path(given.work or work)
        folder.mkdir(exist_ok=True)
        rows = drawn_from(given.targets, gather(folder)[1])
        drawn = [
            Target(folder, name, seed, *rows[name])
            for seed in given.seeds
            for name in given.targets
        ]
        runs = [(one, case) for one in drawn for case in CASES]
        values = pool.map(lambda run: run[0].train(_called(run[1]), *METHOD, *CASES[run[1]]), runs)
        found = {
            (one.name, case, one.seed): value
            for (one, case), value in zip(runs, values, strict=True)
        }
    print("| target | " + " | ".join(CASES) + " |\n|---|" + "---|" * len(CASES))
    for name in given.targets:
        print(
            f"| {name} | "
            + " | ".join(
                over_seeds([found[name, case, seed] for seed in given.seeds]) for case in CASES
            )
            + " |"
        )
    means = [
        statistics.mean(found[name, case, seed] for name in given.targets for seed in given.seeds)
        for case in CASES
    ]
    print("| mean | " + " | ".join(f"{value:.4f}" for value in means) + " |")


def _called(case: str) -> str:
    """The name of a case's folders; without validation rows it is few_labels.py's plain adapter."""
    return "plain" if case.startswith("all") else f"plain {case}"


if __name__ == "__main__":
    main()
