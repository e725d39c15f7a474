"""Sampling that does not depend on the batch: every row draws from its own generator."""

from __future__ import annotations

from typing import Any

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


class SeededSampling(LogitsProcessor):
    """Logits processor that leaves one token per row, drawn as if the row were alone.

    The token is the one that `torch.multinomial` draws for this row with its seed.

    warpers: what shapes the distribution (temperature, top-k, ...). seeds: one per row.
    """

    def __init__(self, warpers: LogitsProcessorList, seeds: list[int], device: torch.device):
        self.warpers = warpers
        self.generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]

    def __call__(self, input_ids: Any, scores: Tensor) -> Tensor:
        shares = self.warpers(input_ids, scores).softmax(-1)  # (rows, vocabulary)
        noise = torch.cat(
            [
                torch.empty_like(shares[:1]).exponential_(generator=generator)
                for generator in self.generators
            ]
        )
        chosen = (shares / noise).argmax(-1, keepdim=True)
        return torch.full_like(scores, -torch.inf).scatter_(-1, chosen, 0.0)


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
