"""AdapterHub's prediction heads as the heads of transformers' classes.

That library's heads are rows of linear maps with an activation between them. Whether one of
transformers' classes computes the same is tried on a few tokens; if not, the head is left out.
Heads of transformers' own classes are taken by the names of their weights.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from adaptkit.adapters.adapterhub.folder import SavedHead
from adaptkit.methods.bottleneck import activation
from adaptkit.models.backbone import backbone_of
from adaptkit.models.probe import evaluating

_TASKS = {
    "classification": "classify",
    "multilabel_classification": "classify",
    "tagging": "tag",
    "question_answering": "answer",
}
_CLASSES = {
    "ForSequenceClassification": "classify",
    "ForTokenClassification": "tag",
    "ForQuestionAnswering": "answer",
}


@dataclass(frozen=True)
class HeadKind:
    """What a head is for. `task` is None for a kind that adaptkit has no task for."""

    name: str
    task: str | None = None
    labels: list[str] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Head:
    """A head in a task model: the paths of its modules, and its tensors by their names there."""

    modules: list[str]
    tensors: dict[str, Tensor]


def head_kind(head: SavedHead) -> HeadKind:
    """The task, labels and settings of a saved head."""
    config = head.config.get("config") or {}
    if not config:  # a class of transformers
        name = str(head.config.get("model_class"))
        task = next((task for end, task in _CLASSES.items() if name.endswith(end)), None)
        config = head.config
    else:
        name = str(config.get("head_type"))
        task = _TASKS.get(name)
    if task in (None, "answer"):
        return HeadKind(name, task)
    labels = _labels(config)
    if task == "classify" and len(labels) == 1:  # the library trains these with squared errors
        return HeadKind(name, "score", ["score"])
    several = name == "multilabel_classification"
    return HeadKind(name, task, labels, {"multi_label": True} if several else {})


def _labels(config: dict[str, Any]) -> list[str]:
    """The labels in their order."""
    by_index = {index: str(label) for label, index in (config.get("label2id") or {}).items()}
    count = int(config.get("num_labels") or len(by_index) or 2)
    names = [by_index.get(index, f"LABEL_{index}") for index in range(count)]
    return names if len(set(names)) == count else [f"LABEL_{index}" for index in range(count)]


def fit_head(head: SavedHead, model: Any) -> Head | None:
    """The head in `model`, a task model of the right kind; None if that computes something else."""
    prefix = backbone_of(model)[1].rstrip(".")
    own = [
        path
        for path, module in model.named_children()
        if path != prefix and any(True for _ in module.parameters())
    ]
    if not head.config.get("config"):
        return _by_name(head, model, own)
    maps = _maps_of(head)
    pooler = getattr(model.get_submodule(prefix), "pooler", None) if prefix else None
    for modules in (own, [f"{prefix}.pooler", *own] if isinstance(pooler, nn.Module) else own):
        fitted = _fill(model, modules, maps)
        if fitted is not None and _answers_alike(model, head.config["config"], maps, fitted):
            return fitted
    return None


def _by_name(head: SavedHead, model: nn.Module, own: list[str]) -> Head | None:
    modules = sorted({name.partition(".")[0] for name in head.tensors})
    wanted = {
        f"{path}.{name}": parameter.shape
        for path in modules
        if path in own
        for name, parameter in model.get_submodule(path).named_parameters()
    }
    given = {name: tensor.shape for name, tensor in head.tensors.items()}
    return Head(modules, head.tensors) if given == wanted else None


def _maps_of(head: SavedHead) -> list[dict[str, Tensor]]:
    """The weight and bias of each linear map, in order: `heads.NAME.4.weight` is the fourth's."""
    found: dict[int, dict[str, Tensor]] = {}
    for name, tensor in head.tensors.items():
        index, _, kind = name.split(".", 2)[-1].partition(".")
        if index.isdecimal():
            found.setdefault(int(index), {})[kind] = tensor
    return [found[index] for index in sorted(found)]


def _fill(model: nn.Module, modules: list[str], maps: list[dict[str, Tensor]]) -> Head | None:
    """The maps as the tensors of the linear maps in these modules, if their shapes agree."""
    paths = [
        f"{path}.{name}".rstrip(".")
        for path in modules
        for name, module in model.get_submodule(path).named_modules()
        if isinstance(module, nn.Linear)
    ]
    tensors = {
        f"{path}.{kind}": tensor
        for path, one in zip(paths, maps, strict=False)
        for kind, tensor in one.items()
    }
    wanted = {
        f"{path}.{name}": parameter.shape
        for path in modules
        for name, parameter in model.get_submodule(path).named_parameters()
    }
    given = {name: tensor.shape for name, tensor in tensors.items()}
    return Head(modules, tensors) if len(paths) == len(maps) and given == wanted else None


@torch.no_grad()
def _answers_alike(
    model: Any, config: dict[str, Any], maps: list[dict[str, Tensor]], head: Head
) -> bool:
    """True if the task model with this head gives the logits of the library's, on a few tokens."""
    ids = torch.arange(3, 9)[None]
    with evaluating(model):
        outputs = backbone_of(model)[0](input_ids=ids)
        given = functional_call(model, head.tensors, (), {"input_ids": ids})
    x = outputs.last_hidden_state
    if "classification" in str(config.get("head_type")):
        x = outputs.get("pooler_output") if config.get("use_pooler") else x[:, 0]
        if x is None:
            return False
    name = config.get("activation_function")
    activate = activation(str(name).lower()) if name else nn.Identity()
    for index, one in enumerate(maps):
        x = nn.functional.linear(activate(x) if index else x, one["weight"], one.get("bias"))
    logits = given.get("logits")
    if logits is None:  # first and last tokens of an answer
        logits = torch.stack([given["start_logits"], given["end_logits"]], -1)
    return logits.shape == x.shape and torch.allclose(logits, x, atol=1e-5, rtol=1e-5)
