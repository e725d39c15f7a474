"""Labels with probabilities: how they are calibrated, and when no answer is given."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from adaptkit.data.tables import Table
from adaptkit.errors import AdaptkitError
from adaptkit.metrics.row_scores import RowScores
from adaptkit.tasks.flags import flag
from adaptkit.tasks.sequence import SequenceTask

NONE = "none of these"
ABSTAINING = ("abstain_below", "abstain_precision", "abstain_coverage")


@dataclass(frozen=True)
class ProbableLabels(SequenceTask):
    """A task whose answers are labels with probabilities.

    abstain_below: a row whose likeliest label is less probable gets the answer `NONE`.
    thresholds: with several labels a row, the probability from which each is given.
    """

    multi_label: bool = flag(
        False,
        "a row may have any number of labels: a list, or names separated by --label_delimiter",
    )
    calibrate: bool = flag(
        True, "fit the temperature of the probabilities on the validation rows", stored=False
    )
    abstain_below: float | None = flag(
        None, "answer 'none of these' where the likeliest label has a lower probability"
    )
    abstain_precision: float | None = flag(
        None,
        "choose --abstain_below on the validation rows: so many of the given answers are right",
        stored=False,
    )
    abstain_coverage: float | None = flag(
        None,
        "choose --abstain_below on the validation rows: so many of the rows get an answer",
        stored=False,
    )
    threshold_per_label: bool = flag(
        False,
        "with --multi_label: choose a threshold for each label on the validation rows (best F1)",
        stored=False,
    )
    thresholds: list[float] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ABSTAINING:
            value = getattr(self, name)
            if value is not None and not (type(value) in (int, float) and 0 < value <= 1):
                raise AdaptkitError(f"{name} is a share, above 0 and at most 1; it got {value!r}.")
        wished = [name for name in ABSTAINING if getattr(self, name) is not None]
        if len(wished) > 1 and (self.abstain_precision or self.abstain_coverage):
            raise AdaptkitError(f"give one of {', '.join(f'--{name}' for name in wished)}.")
        if wished and self.multi_label:
            raise AdaptkitError(f"--{wished[0]} is for one label a text; it got --multi_label.")
        if self.threshold_per_label and not self.multi_label:
            raise AdaptkitError("--threshold_per_label goes with --multi_label.")

    @property
    def chooses_thresholds(self) -> bool:
        """Thresholds are to be chosen on the validation rows."""
        wished = self.threshold_per_label, self.abstain_precision, self.abstain_coverage
        return any(wished)

    def shares(self, logits: np.ndarray) -> np.ndarray:
        """The probabilities of labels `(rows, labels)`."""
        if self.multi_label:
            return 1 / (1 + np.exp(-logits))
        shifted = np.exp(logits - logits.max(-1, keepdims=True))
        return shifted / shifted.sum(-1, keepdims=True)

    def with_thresholds(self, thresholds: list[float]) -> Self:
        """The same task with a threshold for each label."""
        return dataclasses.replace(self, thresholds=[round(one, 6) for one in thresholds])

    def abstaining(self, threshold: float) -> Self:
        """The same task, which gives no answer below a probability."""
        plain = dataclasses.replace(self, abstain_precision=None, abstain_coverage=None)
        return dataclasses.replace(plain, abstain_below=round(threshold, 6))

    def hand_over(self, answer: dict[str, Any]) -> dict[str, Any]:
        """An answer, or `NONE` with the label that it would be, if that is not probable enough."""
        least = self.abstain_below
        if least is None or "label" not in answer or answer["score"] >= least:
            return answer
        return {"label": NONE, "score": answer["score"], "likeliest": answer["label"]}

    def confidence_scores(self, answers: list[dict[str, Any]], table: Table) -> RowScores:
        """The expected calibration error of any of the rows."""
        from adaptkit.metrics.calibration import expected_calibration_error

        confidences, right = map(np.asarray, self._confidences(answers, table))
        return RowScores(
            (confidences, right), lambda *both: {"ece": expected_calibration_error(*both)}
        )

    def _confidences(self, answers, table: Table) -> tuple[list[float], list[bool]]:
        """The probability of each answer, and whether it is right."""
        pairs = zip(answers, table.rows, strict=True)
        return [a["score"] for a in answers], [a["label"] == row["label"] for a, row in pairs]

    def draw_reliability(self, folder: Path, answers: list[dict[str, Any]], table: Table) -> bool:
        """`reliability.png`; False if it cannot be drawn."""
        from adaptkit.metrics.calibration import reliability
        from adaptkit.utils.plots import draw_reliability

        bins = reliability(*self._confidences(answers, table))
        return draw_reliability(folder / "reliability.png", bins)


def six_digits(share: float) -> float:
    """A probability with six digits, however small it is.

    >>> six_digits(0.123456789), six_digits(1.23456789e-9)
    (0.123457, 1.23457e-09)
    """
    return float(f"{share:.6g}")
