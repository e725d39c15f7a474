"""Mixed weights on SST-2: three layers of all-MiniLM-L6-v2 mixed with random ones, over beta.

    ADAPTKIT_DATA=... python benchmarks/mix.py [--betas 0 0.25 0.5 0.75 1] [--seeds 1 2 3]
        [--picture docs/mix.png]
    ADAPTKIT_DATA=... python benchmarks/mix.py --betas 0 1 --picture narrow.png
        --config_overrides hidden_size=192,num_attention_heads=6,intermediate_size=768

For each beta and seed `adaptkit mix all-MiniLM-L6-v2 --num_hidden_layers 3` makes a network, and
recipes/classify.py --method full trains all its weights for three epochs on 6,920 rows; 1,821 rows
to test. Beta 0 is the randomly initialized network; it is also trained at a rate ten times as high,
which may suit random weights better. With --config_overrides the network has other widths, so
MiniLM only contributes its embeddings, by truncated SVD.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from recipe_runs import over_seeds, recipe, write_sst2

BASE = "all-MiniLM-L6-v2"


def network(folder: Path, beta: float, seed: int, overrides: str | None) -> str:
    """Mix a network; returns its folder."""
    out = folder / f"network-{beta}-{seed}"
    flags = [
        "--num_hidden_layers",
        "3",
        "--beta",
        str(beta),
        "--seed",
        str(seed),
        "--output_dir",
        str(out),
    ]
    flags += ["--config_overrides", overrides, "--leave_unmapped"] if overrides else []
    if out.is_dir():
        return str(out)
    subprocess.run(
        [sys.executable, "-m", "adaptkit.cli", "mix", BASE, *flags], check=True, capture_output=True
    )
    return str(out)


def draw(file: str, curve: dict[float, list[float]]) -> None:
    """Draw accuracy over beta, with the spread over seeds."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(5, 3.2), layout="constrained")
    for beta, found in curve.items():
        axes.plot([beta] * len(found), found, "o", color="tab:blue", alpha=0.35, markersize=4)
    axes.plot(list(curve), [statistics.mean(found) for found in curve.values()], color="tab:blue")
    axes.set(
        xlabel="beta: share of MiniLM's weights, the rest is random", ylabel="SST-2 test accuracy"
    )
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, dpi=150)


def main() -> None:
    """Mix, train, print the table, draw the curve."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--betas", nargs="+", type=float, default=[0.0, 0.25, 0.5, 0.75, 1.0])
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--learning_rate", default="1e-4")
    parser.add_argument("--config_overrides")
    parser.add_argument("--picture", default="docs/mix.png")
    given = parser.parse_args()
    curve: dict[float, list[float]] = {beta: [] for beta in given.betas}
    faster: list[float] = []
    with tempfile.TemporaryDirectory() as work:
        files = write_sst2(Path(work))
        for seed in given.seeds:

            def train(name: str, rate: str, seed: int = seed) -> float:
                flags = [
                    *files,
                    "--model_name_or_path",
                    name,
                    "--method",
                    "full",
                    "--learning_rate",
                    rate,
                    "--seed",
                    str(seed),
                ]
                return recipe("classify", Path(work) / "out", *flags)["test_accuracy"]

            for beta, found in curve.items():
                found.append(
                    train(
                        network(Path(work), beta, seed, given.config_overrides), given.learning_rate
                    )
                )
            faster.append(
                train(
                    network(Path(work), 0.0, seed, given.config_overrides),
                    str(10 * float(given.learning_rate)),
                )
            )
    print("| beta | test accuracy: mean +- deviation (each seed) |")
    print("|---|---|")
    print(f"| 0, at ten times the learning rate | {over_seeds(faster)} |")
    for beta, found in curve.items():
        print(f"| {beta:g} | {over_seeds(found)} |")
    draw(given.picture, curve)


if __name__ == "__main__":
    main()
