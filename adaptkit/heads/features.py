"""What the head of a task model reads of encoded rows, from one pass through the frozen base."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from adaptkit.data.collate import IGNORED
from adaptkit.data.samplers import lengths_of
from adaptkit.errors import AdaptkitError, quoted
from adaptkit.models.pooled import Pool, of_one_size, pool
from adaptkit.tasks.base import Task
from adaptkit.utils.cudnn import disable_cudnn_sdpa

if TYPE_CHECKING:
    from datasets import Dataset

BATCH = 64  # rows
MOST_TOKENS = 60_000  # labelled tokens; a linear map needs no more


@torch.no_grad()
@disable_cudnn_sdpa()
def head_features(
    model: Any,
    task: Task,
    encoded: Dataset,
    tokenizer: Any,
    reader: nn.Module,
    poolings: Iterable[str] = (),
) -> tuple[dict[str, Tensor], Tensor]:
    """The input of the head for each label of encoded rows, in fp32, and the labels.

    Args:
        model: from `load_base`, without an adapter.
        reader: the module whose input is read: the head's linear map, or its `Pool`.
        poolings: for a `Pool`: what to make of its input.

    Returns:
        Features `(labels, width)` by pooling (`""` without a `Pool`), and the labels: one a text,
        or one for each token that is not ignored. Without labels: of each text, in any order.

    Raises:
        AdaptkitError: the base gives numbers that are not finite (shows a text).
    """
    poolings = tuple(poolings) if isinstance(reader, Pool) else ("",)
    found: dict[str, list[Tensor]] = {name: [] for name in poolings}
    targets: list[Tensor] = []
    tokens = 0
    for batch, given, outputs in _passes(model, task, encoded, tokenizer, reader):
        states, labels = given[0], batch.get("labels", torch.zeros(len(outputs.logits)))
        of_tokens = outputs.logits.ndim == 3
        kept = labels != IGNORED if of_tokens else slice(None)
        for name in poolings:
            if name:
                read = of_one_size(pool(states, given[1], name))
            elif of_tokens or states.ndim == 2:
                read = states
            else:
                read = _read(reader, states, outputs.logits)
            found[name].append(read[kept].float())
            if not found[name][-1].isfinite().all():
                raise _not_finite(model, tokenizer, batch, kept, found[name][-1])
        targets.append(labels[kept])
        tokens += len(targets[-1])
        if tokens >= MOST_TOKENS:
            break
    return {name: torch.cat(parts) for name, parts in found.items()}, torch.cat(targets)


def _not_finite(
    model: Any, tokenizer: Any, batch: dict[str, Tensor], kept: Any, read: Tensor
) -> AdaptkitError:
    rows = torch.arange(len(batch["input_ids"]))
    of_each = rows if isinstance(kept, slice) else kept.nonzero()[:, 0].cpu()
    row = int(of_each[(~read.isfinite()).any(-1).cpu()][0])
    text = tokenizer.decode(batch["input_ids"][row], skip_special_tokens=True)
    half = model.dtype in (torch.float16, torch.bfloat16)
    way = "load it with --dtype float32" if half else "choose another one, or leave such rows out"
    return AdaptkitError(
        f"the frozen base ({model.config.model_type}) gives numbers that are not finite for the "
        f"text {quoted(text)}: its weights are damaged, or too large for {str(model.dtype)[6:]}; "
        f"{way}."
    )


def _read(head: Any, states: Tensor, logits: Tensor) -> Tensor:
    """The states `(rows, width)` of the tokens whose scores are a model's logits `(rows, labels)`.

    Decoders apply their head to all tokens, and then choose one.
    """
    scores = functional.linear(states, head.weight, head.bias)
    away = (scores - logits[:, None]).abs().sum(-1)  # (rows, tokens)
    return states[torch.arange(len(states), device=states.device), away.argmin(1)]


def _passes(
    model: Any, task: Task, encoded: Dataset, tokenizer: Any, reader: nn.Module
) -> Iterator[tuple[dict[str, Tensor], tuple, Any]]:
    """Each batch, the arguments that the reader was called with, and the model's outputs."""
    device = next(model.parameters()).device
    order = sorted(range(len(encoded)), key=lengths_of(encoded).__getitem__)
    collate = task.collator(tokenizer)
    with _recorded(reader) as calls:
        for start in range(0, len(order), BATCH):
            rows = [encoded[i] for i in order[start : start + BATCH]]
            batch = {key: value.to(device) for key, value in collate(rows).items()}
            inputs = {key: value for key, value in batch.items() if key != "labels"}
            outputs = model(**task.model_inputs(model, inputs, batch.get("labels")))
            yield batch, calls.pop(), outputs
            calls.clear()


@contextmanager
def _recorded(module: nn.Module) -> Iterator[list[tuple]]:
    """The positional arguments of each call of a module while the block runs."""
    calls: list[tuple] = []
    handle = module.register_forward_pre_hook(lambda _, args: calls.append(args))
    try:
        yield calls
    finally:
        handle.remove()
