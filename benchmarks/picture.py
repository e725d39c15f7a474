"""Draw the training results of benchmarks/RESULTS.md.

    python benchmarks/picture.py [--output docs/training.png]

Nothing is measured here.
"""

import argparse
import re
from itertools import dropwhile, takewhile
from pathlib import Path

ROOT = Path(__file__).parents[1]


def rows(text: str, title: str) -> list[list[str]]:
    """The cells of the first table under a title, or nothing without such a title."""
    section = text.partition(f"## {title}\n")[2].partition("\n## ")[0]
    behind = dropwhile(lambda line: not line.startswith("|"), section.splitlines())
    lines = list(takewhile(lambda line: line.startswith("|"), behind)) or ["| |", "| |"]
    return [
        [cell.strip(" `") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in (lines[0], *lines[2:])
    ]


def main() -> None:
    """Draw two plots in one picture: steps relative to the roof, and whole trainings."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", default=ROOT / "docs/training.png")
    given = parser.parse_args()
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    text = (ROOT / "benchmarks/RESULTS.md").read_text("utf-8")
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 3.6), layout="constrained")
    head, *steps = rows(text, "One training step over its matrix products")
    steps = [row for row in steps if row[2] == "lora"]
    names, colors = head[4:8], ("tab:green", "tab:gray", "silver", "tab:blue")
    for offset, (name, color) in enumerate(zip(names, colors, strict=True)):
        places = [i + 0.2 * (offset - 1.5) for i in range(len(steps))]
        left.bar(places, [float(row[4 + offset]) for row in steps], 0.19, label=name, color=color)
    left.axhline(1, color="black", linewidth=0.8)
    left.set_xticks(range(len(steps)), [f"{row[0]} wide\n{row[1]} tokens" for row in steps])
    left.set(ylabel="step / matrix products alone", title="one step, LoRA on q and v")
    left.legend(fontsize=8)
    _, *runs = rows(text, "Whole trainings on SST-2")
    peers = {
        "default": "PEFT + Trainer,\npadded to 128",
        "dynamic": "PEFT + Trainer,\ndynamic padding",
        "best": "PEFT + Trainer,\nbest settings",
    }
    labels = [peers.get(row[0], row[0]) for row in runs]
    seconds = [float(row[1]) for row in runs]
    right.barh(
        labels,
        seconds,
        color=["tab:green" if name == "adaptkit" else "tab:gray" for name in labels],
    )
    for place, value in enumerate(seconds):
        right.text(value, place, f" {value:.0f} s", va="center", fontsize=9)
    right.set(
        xlabel="seconds of training, same accuracy",
        title="SST-2, one epoch",
        xlim=(0, max(seconds, default=1) * 1.15),
    )
    figure.savefig(given.output, dpi=110)


if __name__ == "__main__":
    main()
