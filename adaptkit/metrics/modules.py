"""Metrics of labels, numbers and tags as `evaluate` modules, without network access or files.

>>> from adaptkit.metrics.modules import Classification
>>> Classification().compute(predictions=[0, 1, 1, 0], references=[0, 1, 0, 0])["accuracy"]
0.75
"""

from __future__ import annotations

from typing import Any, ClassVar

import datasets
import evaluate

from adaptkit.metrics.classification import classification, multi_label
from adaptkit.metrics.iob import chunks
from adaptkit.metrics.regression import regression
from adaptkit.metrics.spans import span_scores


class OfflineMetric(evaluate.Metric):
    """An in-memory `evaluate.Metric`; subclasses define `kind` (of one value) and `_compute`."""

    kind: ClassVar[Any]

    def __init__(self, **kwargs: Any):
        super().__init__(**{"keep_in_memory": True, **kwargs})

    def _info(self) -> evaluate.MetricInfo:
        features = datasets.Features({"predictions": self.kind, "references": self.kind})
        return evaluate.MetricInfo(
            description=self.__doc__ or "", citation="", inputs_description="", features=features
        )


class Classification(OfflineMetric):
    """See `adaptkit.metrics.classification.classification`.

    `compute(predictions, references)`: class indices.
    """

    kind = datasets.Value("int64")

    def _compute(self, predictions, references) -> dict[str, float]:
        return classification(predictions, references)


class MultiLabel(OfflineMetric):
    """See `adaptkit.metrics.classification.multi_label`.

    `compute(predictions, references)`: a 0 or 1 per label.
    """

    kind = datasets.Sequence(datasets.Value("int64"))

    def _compute(self, predictions, references) -> dict[str, float]:
        return multi_label(predictions, references)


class Regression(OfflineMetric):
    """See `adaptkit.metrics.regression.regression`. `compute(predictions, references)`: numbers."""

    kind = datasets.Value("float64")

    def _compute(self, predictions, references) -> dict[str, float]:
        return regression(predictions, references)


class Spans(OfflineMetric):
    """Entities with exact boundaries and type, micro-averaged over types, as in seqeval.

    `compute(predictions, references)`: a list of tags (BIO, BIOES, BMES, ...) per row.
    """

    kind = datasets.Sequence(datasets.Value("string"))

    def _compute(self, predictions, references) -> dict[str, float]:
        return span_scores(
            [chunks(tags) for tags in predictions], [chunks(tags) for tags in references]
        )
