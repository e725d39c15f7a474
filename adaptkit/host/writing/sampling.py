"""Sampling that does not depend on the batch: every row draws from its own generator."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor
from transformers import (
    LogitsProcessor,
    LogitsProcessorList,
    MinPLogitsWarper,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from adaptkit.errors import AdaptkitError
from adaptkit.host.writing.sequence import Sequence


class SeededSampling(LogitsProcessor):
    """Logits processor that leaves one token per row, drawn as if the row were alone.

    The token is the one that `torch.multinomial` draws for this row with its seed.

    warpers: what shapes the distribution (temperature, top-k, ...). seeds: one per row.
    """

    def __init__(self, warpers: LogitsProcessorList, seeds: list[int], device: torch.device):
        self.warpers = warpers
        self.generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]

    def __call__(self, input_ids: Any, scores: Tensor) -> Tensor:
        chosen = _draw(self.warpers(input_ids, scores), self.generators)
        return torch.full_like(scores, -torch.inf).scatter_(-1, chosen[:, None], 0.0)


def draw(rows: list[Sequence], scores: Tensor) -> Tensor:
    """A token for each row, from the row's own generator; all have the same warpers."""
    for row in rows:
        row.generator = row.generator or torch.Generator(scores.device).manual_seed(row.seed)
    generators = [cast(torch.Generator, row.generator) for row in rows]
    return _draw(rows[0].how.warpers(cast(Any, None), scores), generators)


def _draw(scores: Tensor, generators: list[torch.Generator]) -> Tensor:
    shares = scores.softmax(-1)  # (rows, vocabulary)
    noise = torch.cat(
        [torch.empty_like(shares[:1]).exponential_(generator=one) for one in generators]
    )
    return (shares / noise).argmax(-1)


def warpers(config: Any, given: dict[str, float | None]) -> LogitsProcessorList:
    """transformers' warpers for temperature, top_k, top_p and min_p, in the order of `generate`.

    config: the model's generation config, used for settings that are not `given`; then temperature
        1 and
    the 50 best tokens, as in `generate`.
    """
    defaults = {"temperature": 1.0, "top_k": 50, "top_p": 1.0, "min_p": None}
    values: dict[str, Any] = {
        name: next(
            (
                value
                for value in (given.get(name), getattr(config, name, None))
                if value is not None
            ),
            default,
        )
        for name, default in defaults.items()
    }
    found = LogitsProcessorList()
    try:
        if values["temperature"] != 1.0:
            found.append(TemperatureLogitsWarper(float(values["temperature"])))
        if values["top_k"]:
            found.append(TopKLogitsWarper(values["top_k"]))
        if values["top_p"] != 1.0:
            found.append(TopPLogitsWarper(values["top_p"]))
        if values["min_p"] is not None:
            found.append(MinPLogitsWarper(values["min_p"]))
    except (TypeError, ValueError) as problem:
        raise AdaptkitError(f"cannot sample so: {str(problem).strip()}") from None
    return found
