"""Train a model's own weights instead of an adapter: all of them, or a part.

The result is an ordinary transformers model.

full       every weight (same as `--method full`)
head       the new head alone, on frozen features
norms      the norms and the head (Frankle et al. 2021, arXiv:2003.00152, for vision models)
biases     the biases and the head (BitFit: Ben Zaken et al. 2022, arXiv:2106.10199)
last[k]    the last k layers, all modules after them, and the head
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from adaptkit.adapters.card import CARD, CONFIG, WEIGHTS, TaskCard, task_of
from adaptkit.data.conversations.rendering import template_of
from adaptkit.errors import AdaptkitError, unknown
from adaptkit.tasks.chat import Chat
from adaptkit.utils.atomic_files import new_version
from adaptkit.utils.json_files import write_json
from adaptkit.utils.versions import versions

FULL = "full"

MODEL = "model.safetensors"

LAST = re.compile(r"last\[(\d+)\]")

TRAIN = ("adapter", FULL, "head", "norms", "biases", "last[k]")


def unfreeze(model: Any, what: str = FULL) -> Any:
    """A model in fp32 in which the weights named by `what` train.

    Raises:
        AdaptkitError: the part is unknown, the model has fewer layers, or it has no new head.
    """
    names = trained(model, what)
    model.float()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in names)
    return model


def check_part(what: str) -> None:
    """Refuse a value that is neither a part of a model nor `adapter`."""
    if what not in TRAIN[:-1] and not LAST.fullmatch(what):
        raise unknown("--train", what, TRAIN)


def trained(model: Any, what: str) -> set[str]:
    """The names of the parameters that `what` selects; see `TRAIN`."""
    check_part(what)
    everything = [name for name, _ in model.named_parameters()]
    record = getattr(model, "adaptkit_base", None)
    head = {
        name
        for name in everything
        for module in (record.head if record else ())
        if name.startswith(f"{module}.")
    }
    if what == FULL:
        return set(everything)
    if what == "norms":
        norms = [path for path, module in model.named_modules() if "Norm" in type(module).__name__]
        return head | {name for name in everything if name.rpartition(".")[0] in norms}
    if what == "biases":
        return head | {name for name in everything if name.endswith(("bias", "_b"))}
    if match := LAST.fullmatch(what):
        return head | _upper(model, everything, int(match[1]))
    if not head:
        raise AdaptkitError(
            f"--train head: this {type(model).__name__} has no new head; all of it is pretrained."
        )
    return head


def _upper(model: Any, everything: list[str], count: int) -> set[str]:
    """The parameters of the last layers of the last stack, and of all modules after them."""
    from adaptkit.models.backbone import backbone_of
    from adaptkit.models.find_sites import layer_paths
    from adaptkit.models.probe import parameters_called_after

    _, prefix = backbone_of(model)
    layers = [f"{prefix}{path}." for path in layer_paths(model)[-1][1]]
    if not 1 <= count <= len(layers):
        raise AdaptkitError(f"last[{count}]: this model has {len(layers)} layers.")
    behind = parameters_called_after(model, layers[-1].removesuffix("."))
    return {
        name for name in everything if name.startswith(tuple(layers[-count:])) or name in behind
    }


def save_full(model: Any, tokenizer: Any, folder: Path, card: TaskCard) -> None:
    """Write model, tokenizer and card to `folder`, atomically.

    The card's base is the folder itself, so the folder can be moved. A chat's tokenizer keeps the
    template that was trained with, with its system message for conversations that have none, and
    the model's generation settings name the tokens that end its answers.
    """
    known: dict[str, Any] = {
        "method": FULL,
        "model_class": type(model).__name__,
        "base": ".",
        "versions": versions(),
    }
    if origin := getattr(model, "adaptkit_base", None):
        known |= {
            "origin": origin.name,
            "revision": origin.revision,
            "fingerprint": origin.fingerprint,
        }
    task = task_of(card) if card.task else None
    if task and task.problem_type:
        model.config.problem_type = task.problem_type  # how transformers' pipelines read outputs
    # what is left of an adapter would make transformers load that instead
    version = new_version(folder, without=(CONFIG, WEIGHTS))
    with version as staged, _as_trained(model, tokenizer, task):
        model.save_pretrained(staged)
        tokenizer.save_pretrained(staged)
        write_json(staged / CARD, dataclasses.asdict(dataclasses.replace(card, **known)))


@contextmanager
def _as_trained(model: Any, tokenizer: Any, task: Any) -> Iterator[None]:
    """A chat's tokenizer with the template of its training, and its model with the turns' ends."""
    if not isinstance(task, Chat):
        yield
        return
    settings = model.generation_config
    before = tokenizer.chat_template, settings.eos_token_id
    tokenizer.chat_template = template_of(tokenizer, task.system)
    settings.eos_token_id = task.generation(tokenizer, model)["eos_token_id"]
    try:
        yield
    finally:
        tokenizer.chat_template, settings.eos_token_id = before
