"""What tells rows of a stream from reference rows, as one number a row.

Each is made before the rows that it is used for come, so their ranks are as good as any.
"""

from __future__ import annotations

import numpy as np

from adaptkit.monitoring.stream_test import Score

SHRINK = 0.1  # share of the spherical part in a covariance
FEWEST = 20  # rows that a classifier learns from


def classifier(reference: np.ndarray, stream: np.ndarray) -> Score:
    """How much a linear discriminant takes a row for one of the stream (Lopez-Paz and Oquab 2017).

    Before there is a stream: the row's Mahalanobis distance from the reference.
    """
    mean = reference.mean(0)
    inverse = np.linalg.inv(_covariance(reference - mean))
    if len(stream) < FEWEST:
        return lambda rows: np.einsum("nd,de,ne->n", rows - mean, inverse, rows - mean)
    direction = inverse @ (stream.mean(0) - mean)
    return lambda rows: (rows - mean) @ direction


def mmd_witness(reference: np.ndarray, stream: np.ndarray) -> Score:
    """Where the stream is denser than the reference: the witness of the maximum mean discrepancy.

    With the Gaussian kernel of the median distance (Gretton et al. 2012).
    """
    width = np.median(squared_distances(reference, reference)) or 1.0

    def density(rows: np.ndarray, of: np.ndarray) -> np.ndarray:
        return np.exp(-squared_distances(rows, of) / width).mean(1) if len(of) else np.zeros(1)

    return lambda rows: density(rows, stream) - density(rows, reference)


def itself(_: np.ndarray, __: np.ndarray) -> Score:
    """A single number a row."""
    return lambda rows: rows[:, 0]


def squared_distances(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """Between all rows of two arrays, `(rows of one, rows of two)`."""
    found = (one**2).sum(1)[:, None] + (two**2).sum(1)[None] - 2 * one @ two.T
    return np.maximum(found, 0)


def _covariance(centred: np.ndarray) -> np.ndarray:
    found = centred.T @ centred / max(1, len(centred) - 1)
    width = len(found)
    return (1 - SHRINK) * found + SHRINK * (np.trace(found) / width + 1e-12) * np.eye(width)
