"""Scores of a source for a task without training, from features `(rows, width)` and labels.

    log_me      mean log evidence of a Bayesian linear map to each label
                (You et al. 2021, arXiv:2102.11005)
    h_score     how much of the features' spread lies between labels
                (Bao et al. 2019; covariance shrunk, Ibrahim et al. 2021)
    probe       accuracy of a ridge map to the labels, cross-validated
    neighbours  accuracy of the vote of the nearest rows by cosine, each row left out in turn

Higher is better for all of them. They need no seed: folds are cut by the rows' order.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Array = np.ndarray


def one_hot(labels: Array) -> Array:
    """Labels `(rows)` -> `(rows, labels)` of 0 and 1; only labels that occur have a column."""
    return (labels[:, None] == np.unique(labels)).astype(np.float64)


def log_me(features: Array, labels: Array, steps: int = 100) -> float:
    """The mean over labels of the maximal log evidence per row."""
    features = features.astype(np.float64)
    rows, width = features.shape
    u, s, _ = np.linalg.svd(features, full_matrices=False)
    found = []
    for wanted in one_hot(labels).T:
        inside = (u.T @ wanted) ** 2
        outside = max(0.0, wanted @ wanted - inside.sum())
        alpha = beta = 1.0
        for _ in range(steps):
            ratio = alpha / beta
            known = (s**2 / (s**2 + ratio)).sum()
            size = (s**2 * inside / (s**2 + ratio) ** 2).sum()
            error = (inside * (ratio / (s**2 + ratio)) ** 2).sum() + outside
            alpha, beta = known / (size + 1e-12), (rows - known) / (error + 1e-12)
            if abs(alpha / beta - ratio) <= 1e-5 * ratio:
                break
        ratio = alpha / beta
        size = (s**2 * inside / (s**2 + ratio) ** 2).sum()
        error = (inside * (ratio / (s**2 + ratio)) ** 2).sum() + outside
        found.append(log_evidence(alpha, beta, s, rows, width, size, error) / rows)
    return float(np.mean(found))


def log_evidence(
    alpha: float, beta: float, s: Array, rows: int, width: int, size: float, error: float
) -> float:
    """log p(y | features, alpha, beta): alpha the precision of the weights, beta that of the noise.

    s: singular values of the features; size: squared norm of the mean weights; error: squared error
        of
    their prediction.
    """
    spread = np.log(alpha + beta * s**2).sum() + (width - len(s)) * np.log(alpha)
    return 0.5 * (
        width * np.log(alpha)
        + rows * np.log(beta / (2 * np.pi))
        - spread
        - beta * error
        - alpha * size
    )


def h_score(features: Array, labels: Array) -> float:
    """(1 - a) trace(C^-1 cov(mean features of each label)), C the covariance of the features.

    C is shrunk by a share a towards a multiple of the identity (Ledoit and Wolf 2004). The score is
    at most the number of labels minus one.
    """
    features = features.astype(np.float64) - features.mean(0)
    rows, width = features.shape
    spread = features.T @ features / rows
    target = np.trace(spread) / width
    off = ((spread - target * np.eye(width)) ** 2).sum()
    noise = ((features**2).sum(1) ** 2).sum() / rows**2 - (spread**2).sum() / rows
    shrink = min(1.0, max(0.0, noise / off)) if off > 1e-12 * target**2 else 0.0
    spread = (1 - shrink) * spread + shrink * target * np.eye(width)
    known = one_hot(labels)
    means = known @ (known.T @ features / known.sum(0)[:, None])
    return float((1 - shrink) * np.trace(np.linalg.pinv(spread) @ (means.T @ means / rows)))


def probe(features: Array, labels: Array, folds: int = 5, strength: float = 1.0) -> float:
    """Accuracy of a ridge map with a bias from standardized features to the labels.

    strength: regularization per row.
    """
    fold = np.arange(len(labels)) % min(folds, len(labels))
    known, right = one_hot(labels), 0
    answers = np.argmax(known, 1)
    for held in range(fold.max() + 1):
        x, y, test = features[fold != held], known[fold != held], features[fold == held]
        middle, width = x.mean(0), x.std(0) + 1e-6
        x, test = (x - middle) / width, (test - middle) / width
        share = y.mean(0)
        inner = x @ x.T + strength * x.shape[1] * np.eye(len(x))
        predictions = test @ (x.T @ np.linalg.solve(inner, y - share)) + share
        right += int((predictions.argmax(1) == answers[fold == held]).sum())
    return right / len(labels)


def neighbours(features: Array, labels: Array, count: int = 5) -> float:
    """Accuracy of the vote of the nearest `count` other rows; ties go to the nearer rows."""
    unit = features / (np.linalg.norm(features, axis=1, keepdims=True) + 1e-12)
    close = unit @ unit.T
    np.fill_diagonal(close, -np.inf)
    known = one_hot(labels)
    nearest = np.argsort(-close, 1, kind="stable")[:, : min(count, len(labels) - 1)]
    nearness = 1 + 1e-3 * 0.5 ** np.arange(nearest.shape[1])  # no two sums of these are the same
    votes = (known[nearest] * nearness[None, :, None]).sum(1)
    return float((votes.argmax(1) == known.argmax(1)).mean())


SCORES: dict[str, Callable[[Array, Array], float]] = {
    "log_me": log_me,
    "h_score": h_score,
    "probe": probe,
    "neighbours": neighbours,
}
