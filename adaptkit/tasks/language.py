"""Base of tasks with a language-modelling head: token loss, perplexity and generation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

from adaptkit.data.collate import IGNORED
from adaptkit.data.conversations.ends import turn_ends, words_begin
from adaptkit.data.tables import Table
from adaptkit.tasks.base import Task
from adaptkit.utils.terminal import progress


@dataclass(frozen=True)
class Language(Task):
    """A task with token loss. The best epoch is the one with the lowest perplexity."""

    best_metric = "perplexity"
    recordable = True
    lower_is_better = True
    base_knows = True
    causal = True  # a token's logits predict the next token
    reads_every_token = True

    def predicted(self, labels):
        from torch.nn import functional

        return functional.pad(labels[:, 1:], (0, 1), value=IGNORED) if self.causal else labels

    def loss(self, outputs, batch, labels, items, smoothing: float = 0.0):
        losses = outputs.cross_entropies(smoothing) if smoothing else outputs.losses
        return losses.sum() / items

    def postprocess(self, outputs, batch, labels):
        """`(rows, 2)`: the summed loss of a row's tokens, and their number."""
        import torch

        rows = outputs.places.clamp(min=0) // labels.shape[1]
        each = torch.stack([outputs.losses, (outputs.labels != IGNORED).float()], 1)
        return each.new_zeros(len(labels), 2).index_add(0, rows, each)

    def metrics(self, outputs: np.ndarray, encoded, table: Table) -> dict[str, float]:
        return perplexity(outputs)

    def losses_by_row(self, outputs: np.ndarray, encoded: Any, count: int) -> np.ndarray:
        """The summed loss of each row's tokens, and their number, `(rows, 2)`."""
        return sums_by_row(outputs, encoded, count)

    def prompts(self, model: Any, table: Table, tokenizer: Any, max_length: int) -> list[list[int]]:
        """The prompts for generation, as ids without padding."""
        raise NotImplementedError

    def generation(self, tokenizer: Any, model: Any) -> dict[str, Any]:
        """Arguments of transformers' `generate`."""
        raise NotImplementedError

    def generate(
        self, model, table: Table, tokenizer, max_length: int, batch_size: int
    ) -> list[dict[str, Any]]:
        prompts = self.prompts(model, table, tokenizer, max_length)
        answers: list[dict[str, Any]] = [{} for _ in prompts]
        settings = self.generation(tokenizer, model)
        begin = words_begin(tokenizer) if self.causal else None
        lengths, padded = [len(ids) for ids in prompts], not _has_virtual_tokens(model)
        for chosen in batches(lengths, batch_size, padded):
            written = write(model, [prompts[i] for i in chosen], tokenizer.pad_token_id, settings)
            said = [words_of(ids, settings, begin) for ids in written.tolist()]
            for i, text in zip(
                chosen, tokenizer.batch_decode(said, skip_special_tokens=True), strict=True
            ):
                answers[i] = {"text": text.strip()}
        return answers

    def answer_text(self, answer: dict[str, Any]) -> str:
        return answer["text"]


def ends(tokenizer: Any, model: Any) -> list[int] | None:
    """The tokens that end an answer: the chat template's, the tokenizer's, and the base's own."""
    own = model.generation_config.eos_token_id
    own = own if isinstance(own, list) else [own]
    return sorted({tokenizer.eos_token_id, *own, *turn_ends(tokenizer)} - {None}) or None


def perplexity(outputs: np.ndarray) -> dict[str, float]:
    """Perplexity over all tokens that carry loss, each counted once.

    outputs: the summed loss of each row's tokens, and their number, `(rows, 2)`.
    """
    losses, tokens = outputs.astype(np.float64).sum(0)
    return {"perplexity": math.exp(min(losses / max(tokens, 1), 100))}


def sums_by_row(outputs: np.ndarray, encoded: Any, count: int) -> np.ndarray:
    """The outputs `(examples, 2)` of the examples of each row, added up, `(count, 2)`."""
    if "_row" not in encoded.column_names:
        return outputs
    found = np.zeros((count, 2), outputs.dtype)
    np.add.at(found, encoded["_row"], outputs)
    return found


def write(model: Any, prompts: list[list[int]], pad: int, settings: dict[str, Any]) -> Any:
    """Generate ids `(rows, tokens)` for one batch of prompts, without the prompts themselves.

    With an encoder the prompts are its inputs.

    pad: the id that pads shorter prompts, on the left without an encoder.
    settings: settings of transformers' `generate`.
    """
    import torch

    from adaptkit.utils.cudnn import disable_cudnn_sdpa

    behind = not model.config.is_encoder_decoder
    width = max(map(len, prompts))
    gaps = [width - len(ids) for ids in prompts]
    filled = [
        [pad] * gap + ids if behind else ids + [pad] * gap
        for ids, gap in zip(prompts, gaps, strict=True)
    ]
    seen = [
        [0] * gap + [1] * len(ids) if behind else [1] * len(ids) + [0] * gap
        for ids, gap in zip(prompts, gaps, strict=True)
    ]
    device = model.get_input_embeddings().weight.device
    inputs = {
        "input_ids": torch.tensor(filled, device=device),
        "attention_mask": torch.tensor(seen, device=device),
    }
    with torch.no_grad(), disable_cudnn_sdpa():
        written = model.generate(**inputs, pad_token_id=pad, **settings)
    return written[:, width if behind else 0 :]


def words_of(ids: list[int], settings: dict[str, Any], begin: int | None) -> list[int]:
    """The words of an answer among generated ids.

    They end before the first of the tokens that `settings` end an answer at, not all of which are
    special ones, which decoding leaves out. They begin behind the thoughts, or the channel's name,
    that a chat template puts before them.

    begin: the token right before them, from `words_begin`.
    """
    ends = settings.get("eos_token_id") or ()  # an encoder-decoder has its own
    ids = ids[: next((i for i, token in enumerate(ids) if token in ends), len(ids))]
    return ids[len(ids) - ids[::-1].index(begin) :] if begin in ids else ids


def _has_virtual_tokens(model: Any) -> bool:
    """Whether tokens are put in front of a text; PEFT would put them in front of its padding."""
    config = getattr(model, "active_peft_config", None)
    return getattr(config, "is_prompt_learning", False) and not model.config.is_encoder_decoder


def batches(lengths: list[int], size: int, padded: bool = True):
    """Row indices in batches of similar lengths, the longest first, with a progress bar.

    padded: a batch may be of several lengths.
    """
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    groups = [order] if padded else [list(same) for _, same in groupby(order, lengths.__getitem__)]
    parts = [group[i : i + size] for group in groups for i in range(0, len(group), size)]
    yield from progress(parts, "writing", "batch")
