"""What makes an `evaluate` module of a function, with no network and no files."""

from __future__ import annotations

from typing import Any, ClassVar

import datasets
import evaluate
import numpy as np


class OfflineMetric(evaluate.Metric):
    """An `evaluate.Metric` in memory: subclasses give `kind` (of one prediction and one reference) and `_compute`."""

    kind: ClassVar[Any]

    def __init__(self, **kwargs: Any):
        super().__init__(**{"keep_in_memory": True, **kwargs})

    def _info(self) -> evaluate.MetricInfo:
        features = datasets.Features({"predictions": self.kind, "references": self.kind})
        return evaluate.MetricInfo(description=self.__doc__ or "", citation="", inputs_description="", features=features)


def share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole, and 0 where there is nothing."""
    return np.divide(part, whole, out=np.zeros(np.shape(part)), where=np.asarray(whole) > 0)


def precision_recall_f1(hits: np.ndarray, said: np.ndarray, gold: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """From counts of right answers, of answers and of gold, for each label. 0 where it is not defined."""
    return share(hits, said), share(hits, gold), share(2 * hits, np.asarray(said) + gold)
