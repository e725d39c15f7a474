"""Plots of a run, if matplotlib is installed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from adaptkit.utils.atomic_files import new_file


def draw_curves(path: Path, history: list[dict[str, float]], metric: str) -> bool:
    """`curves.png`: training loss by step, validation loss and metric by epoch.

    Returns False without matplotlib.
    """
    plot = _pyplot()
    if plot is None:
        return False
    figure, (losses, scores) = plot.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    for key, label in (("loss", "training"), ("eval_loss", "validation")):
        points = [(entry["step"], entry[key]) for entry in history if key in entry]
        if points:
            losses.plot(
                *zip(*points, strict=True), label=label, marker="o" if key == "eval_loss" else None
            )
    losses.set(xlabel="step", ylabel="loss", ylim=(0, None))
    if losses.lines:
        losses.legend()
    points = [
        (entry["epoch"], entry[f"eval_{metric}"]) for entry in history if f"eval_{metric}" in entry
    ]
    if points:
        scores.plot(*zip(*points, strict=True), marker="o", color="tab:green")
    scores.set(xlabel="epoch", ylabel=f"validation {metric.replace('_', ' ')}")
    with new_file(path) as new:
        figure.savefig(new, format="png", dpi=120)
    plot.close(figure)
    return True


def draw_confusion(path: Path, matrix: np.ndarray, labels: list[str]) -> bool:
    """`confusion.png`: rows are references, columns are predictions, with counts where they fit.

    Returns False without matplotlib.
    """
    plot = _pyplot()
    if plot is None:
        return False
    size = min(16, 2.5 + 0.45 * len(labels))
    figure, axes = plot.subplots(figsize=(size + 1, size), layout="constrained")
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if len(labels) <= 40:
        ticks = range(len(labels))
        axes.set_xticks(ticks, labels, rotation=45, ha="right", parse_math=False)
        axes.set_yticks(ticks, labels, parse_math=False)
    if len(labels) <= 20:
        for (row, column), count in np.ndenumerate(matrix):
            if count:
                color = "white" if shares[row, column] > 0.5 else "black"
                axes.text(
                    column, row, str(count), ha="center", va="center", color=color, fontsize=9
                )
    axes.set(xlabel="predicted", ylabel="gold")
    with new_file(path) as new:
        figure.savefig(new, format="png", dpi=120)
    plot.close(figure)
    return True


def draw_reliability(path: Path, bins: list[Any]) -> bool:
    """`reliability.png`: the share of right answers by confidence, with the number of answers.

    bins: of `adaptkit.metrics.calibration.reliability`. Returns False without matplotlib.
    """
    plot = _pyplot()
    if plot is None:
        return False
    figure, (axes, counts) = plot.subplots(
        2, 1, figsize=(4.2, 5), height_ratios=(3, 1), sharex=True, layout="constrained"
    )
    confidences = [one.confidence for one in bins]
    axes.plot([0, 1], [0, 1], color="gray", linestyle="--", label="calibrated")
    axes.plot(confidences, [one.accuracy for one in bins], marker="o", label="answers")
    axes.set(ylabel="right answers", xlim=(0, 1), ylim=(0, 1))
    axes.legend()
    counts.bar(confidences, [one.count for one in bins], width=0.03)
    counts.set(xlabel="confidence", ylabel="answers")
    with new_file(path) as new:
        figure.savefig(new, format="png", dpi=120)
    plot.close(figure)
    return True


def _pyplot():
    try:
        import matplotlib
    except ImportError:
        return None
    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot


def warn_if_not_drawn(drawn: list[bool]) -> None:
    """Print one line to stderr if plots could not be drawn."""
    if not all(drawn):
        print(
            "pictures are not drawn: matplotlib is missing (pip install matplotlib)",
            file=sys.stderr,
        )
