"""What an adapter keeps of its training, so that drift can be seen: `reference.safetensors`.

It holds the base's states of some training rows, in their 64 main directions, and the numbers of
the answers to validation rows. No text, and about a hundred kilobytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from adaptkit.errors import AdaptkitError
from adaptkit.host.answers import Answer
from adaptkit.monitoring.rows import numbers_of, text_of
from adaptkit.tasks.base import Task
from adaptkit.utils.atomic_files import new_file, read_together

FILE = "reference.safetensors"
DIRECTIONS = 64
ROWS = 500
FEWEST = 20  # rows of a reference; with fewer, nothing can be said

States = Callable[[Sequence[str]], np.ndarray]


@dataclass(frozen=True)
class Reference:
    """What the inputs and answers of an adapter are compared with.

    mean `(width,)`, directions `(width, D)`: of the first half of the states.
    states: `(rows, D)`, in random order. numbers, confidences: `(answers,)`; empty if the task's
        answers have none.
    """

    mean: np.ndarray
    directions: np.ndarray
    states: np.ndarray
    numbers: np.ndarray
    confidences: np.ndarray

    @classmethod
    def make(
        cls,
        task: Task,
        rows: Sequence[dict[str, Any]],
        answers: Sequence[Answer],
        states: States,
        seed: int = 0,
        most: int = ROWS,
    ) -> Reference | None:
        """The reference of a training; None if there are too few rows.

        Args:
            rows: training rows, by parts. answers: to rows that were not trained on.
            states: what the base makes of texts, `(texts, width)`.
            most: states to keep, chosen by chance.
        """
        random = np.random.default_rng(seed)
        chosen = random.permutation(len(rows))[:most]
        if len(chosen) < FEWEST:
            return None
        found = states([text_of(rows[i], task.input_fields()) for i in chosen])
        # A direction may only know of the first half: the others are ranked among new rows.
        half = found[: len(found) // 2]
        mean = half.mean(0)
        directions = np.linalg.svd(half - mean, full_matrices=False)[2][:DIRECTIONS].T
        pairs = [numbers_of(task, one) for one in answers]
        columns = ([pair[i] for pair in pairs if pair[i] is not None] for i in range(2))
        numbers, confidences = (random.permutation(np.array(one, float)) for one in columns)
        return cls(mean, directions, (found - mean) @ directions, numbers, confidences)

    def project(self, states: np.ndarray) -> np.ndarray:
        """States `(texts, width)` in the reference's directions, `(texts, D)`."""
        return (states - self.mean) @ self.directions

    def check_width(self, width: int) -> None:
        """Refuse a reference of another base, whose states are not this wide.

        Raises:
            AdaptkitError: it is.
        """
        if len(self.mean) != width:
            raise AdaptkitError(
                f"its reference has states of {len(self.mean)} numbers, those of this base have "
                f"{width}."
            )

    def save(self, folder: Path) -> None:
        """Write the reference into an adapter's folder."""
        tensors = {
            name: np.ascontiguousarray(value, np.float16 if value.ndim == 2 else np.float32)
            for name, value in vars(self).items()
        }
        with new_file(folder / FILE) as path:
            path.write_bytes(save(tensors))


def read_reference(folder: str | Path) -> Reference | None:
    """The reference in an adapter's folder; None if there is none.

    Raises:
        AdaptkitError: the file is damaged.
    """
    content = read_together(folder, [FILE]).get(FILE)
    if content is None:
        return None
    try:
        found = {name: value.astype(np.float64) for name, value in load(content).items()}
        reference = Reference(**found)
    except (SafetensorError, TypeError, ValueError) as problem:
        raise AdaptkitError(f"{Path(folder) / FILE} is damaged: {problem}") from None
    width, directions = reference.directions.shape
    if reference.mean.shape != (width,) or reference.states.shape[1:] != (directions,):
        raise AdaptkitError(f"{Path(folder) / FILE} is damaged: its shapes do not fit.")
    return reference
