"""Probabilities that mean what they say, and thresholds on them, from validation rows.

Temperature scaling (Guo et al. 2017, arXiv:1706.04599) divides all logits by one number: the
likeliest label stays what it is.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

COLDEST, HOTTEST = 0.05, 20.0
SPREAD = 0.5  # of the prior of log T around 0, so that few rows move it little
STEPS = 60
GOLDEN = (5**0.5 - 1) / 2


def fit_temperature(logits: np.ndarray, targets: np.ndarray) -> float:
    """The temperature with the highest likelihood of the targets.

    Args:
        logits: `(rows, labels)`.
        targets: class indices `(rows,)`; or 0 and 1 `(rows, labels)`, for several labels a row.
    """
    logits = logits.astype(np.float64)
    loss = _one_label_loss if targets.ndim == 1 else _labels_loss

    def height(log: float) -> float:
        return loss(logits / np.exp(log), targets) + 0.5 * (log / SPREAD) ** 2

    return float(np.exp(_lowest(height, np.log(COLDEST), np.log(HOTTEST))))


def _one_label_loss(logits: np.ndarray, targets: np.ndarray) -> float:
    """The sum of cross-entropies."""
    top = logits.max(-1)
    whole = top + np.log(np.exp(logits - top[:, None]).sum(-1))
    return float((whole - logits[np.arange(len(targets)), targets]).sum())


def _labels_loss(logits: np.ndarray, targets: np.ndarray) -> float:
    """The sum of binary cross-entropies."""
    return float((np.logaddexp(0, logits) - logits * targets).sum())


def _lowest(height: Callable[[float], float], low: float, high: float) -> float:
    """Where a function with one valley is lowest, by golden sections."""
    one, two = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
    at_one, at_two = height(one), height(two)
    for _ in range(STEPS):
        if at_one <= at_two:
            high, two, at_two = two, one, at_one
            one = high - GOLDEN * (high - low)
            at_one = height(one)
        else:
            low, one, at_one = one, two, at_two
            two = low + GOLDEN * (high - low)
            at_two = height(two)
    return (low + high) / 2


def fit_thresholds(shares: np.ndarray, targets: np.ndarray) -> list[float]:
    """For each label the threshold with the best F1; 0.5 for a label that no row has.

    A threshold lies between two neighbouring probabilities; of equally good ones, that next to 0.5.

    Args:
        shares: probabilities `(rows, labels)`. targets: 0 and 1, the same shape.
    """
    return [_threshold(*columns) for columns in zip(shares.T, targets.T, strict=True)]


def _threshold(shares: np.ndarray, targets: np.ndarray) -> float:
    if not targets.any():
        return 0.5
    order = np.argsort(-shares, kind="stable")
    ordered, hits = shares[order], np.cumsum(targets[order])
    given = np.arange(1, len(ordered) + 1)
    f1 = 2 * hits / (given + targets.sum())
    below = np.append(ordered[1:], 0.0)
    cuts = (ordered + below) / 2
    cuts = np.where((ordered >= 0.5) & (below < 0.5), 0.5, cuts)
    f1[ordered == below] = -1.0  # no threshold lies between equal ones
    best = np.flatnonzero(f1 >= f1.max() - 1e-12)
    return float(cuts[best[np.argmin(np.abs(cuts[best] - 0.5))]])


def abstain_threshold(
    confidences: np.ndarray,
    right: np.ndarray,
    precision: float | None = None,
    coverage: float | None = None,
) -> tuple[float, float, float]:
    """A probability from which answers are given.

    Args:
        confidences: of the answers `(rows,)`. right: which are.
        precision: the share of given answers that are right, at least; as many as possible are
            given. coverage: the share of answers that are given, instead.

    Returns:
        The threshold, midway between two neighbouring probabilities; the precision and the
        coverage of the rows above it. Where no threshold has the wished precision, that with the
        highest one.
    """
    order = np.argsort(-confidences, kind="stable")
    ordered, hits = confidences[order], np.cumsum(right[order])
    given = np.arange(1, len(ordered) + 1)
    shares = hits / given
    last = np.append(ordered[1:] != ordered[:-1], True)  # equal ones are given together
    if coverage is not None:
        enough = last & (given >= coverage * len(ordered))
        at = int(np.flatnonzero(enough)[0])
    else:
        good = np.flatnonzero(last & (shares >= (precision or 0.0)))
        at = int(good[-1]) if len(good) else int(np.argmax(np.where(last, shares, -1.0)))
    below = np.append(ordered[1:], 0.0)[at]
    return float((ordered[at] + below) / 2), float(shares[at]), float(given[at] / len(ordered))
