"""Convert a folder of AdapterHub's library into an adapter of adaptkit's, exactly or not at all."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from adaptkit.adapters.adapterhub.bottlenecks import bottleneck_pieces
from adaptkit.adapters.adapterhub.folder import SavedAdapter, read_folder
from adaptkit.adapters.adapterhub.heads import Head, HeadKind, fit_head, head_kind
from adaptkit.adapters.adapterhub.maps import map_pieces
from adaptkit.adapters.adapterhub.pieces import Piece, as_union
from adaptkit.adapters.adapterhub.places import Places
from adaptkit.adapters.adapterhub.prefixes import prefix_pieces
from adaptkit.adapters.card import TaskCard
from adaptkit.adapters.inject import adapt
from adaptkit.adapters.peft_lora import PREFIX
from adaptkit.adapters.save_load import save_adapter
from adaptkit.adapters.tensors import adapter_tensors
from adaptkit.adapters.tuner import plan
from adaptkit.errors import AdaptkitError
from adaptkit.methods.base import Method
from adaptkit.methods.grammar import describe_method
from adaptkit.models.load import load_base
from adaptkit.utils.output_folder import check_empty

_READERS = {
    None: bottleneck_pieces,
    "bottleneck": bottleneck_pieces,
    "lora": map_pieces,
    "prefix_tuning": prefix_pieces,
}
# In these the library adds a random bias to the attention, which it does not save.
_NOT_REPEATABLE = ("modernbert",)
_ONLY_IN_TRAINING = ("dropout", "stochastic_depth")


@dataclass(frozen=True)
class Converted:
    """What was converted: the method, the task of its head or None, and what was left out."""

    method: str
    task: str | None
    labels: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def convert(folder: str | Path, output_dir: str | Path, base: str | None = None) -> Converted:
    """Write an adapter of AdapterHub's library as one of adaptkit's.

    It answers as that library does, to rounding. Bottlenecks (`seq_bn`, `double_seq_bn`, `par_bn`),
    LoRA, (IA)3, prefixes and unions of them are converted, and linear heads of classification,
    tagging and question answering with their labels. Other heads are left out, with a note.

    Args:
        folder: from that library's `save_adapter`, with safetensors or a state dict.
        output_dir: an empty or new folder.
        base: the model it was trained on; by default the one that its configuration names.

    Raises:
        AdaptkitError: the folder holds no such adapter or a broken one, the base is another model,
            or no method of adaptkit's computes the same; the reason is in the message.
    """
    saved = read_folder(Path(folder))
    check_empty(output_dir)
    configs = _configs(saved)
    if saved.content["model_type"] in _NOT_REPEATABLE:
        raise saved.refused(
            "in ModernBERT that library adds a random bias to the attention and does not save it, "
            "so nothing can answer as the trained model did."
        )
    model, kind, head, notes = _model(saved, base)
    _check_base(saved, model)
    places = Places(model)
    pieces = [
        piece for config in configs for piece in _READERS[_kind(config)](saved, config, places)
    ]
    if saved.groups:
        left, owner = next(iter(saved.groups))
        raise saved.refused(f"it has {left} at {owner!r}, which its configuration does not name.")
    try:
        union = as_union(pieces, places.sites)
    except AdaptkitError as problem:
        raise saved.refused(str(problem)) from None
    adapted = _adapt(saved, model, union, pieces, head)
    notes += [
        f"{name}={config[name]} is left out: it is a setting of training"
        for config in configs
        for name in _ONLY_IN_TRAINING
        if _kind(config) != "lora" and config.get(name)
    ]
    card = TaskCard(task=kind.task, labels=kind.labels, settings=kind.settings)
    save_adapter(adapted, output_dir, card=card)
    return Converted(describe_method(union), kind.task, kind.labels, notes)


def _configs(saved: SavedAdapter) -> list[dict[str, Any]]:
    """The configurations of a union, or the single one."""
    union = saved.config.get("architecture") == "union"
    configs = saved.config.get("configs") if union else [saved.config]
    if not isinstance(configs, list) or not all(isinstance(one, dict) for one in configs):
        raise saved.refused("the configurations of its union are not a list of objects.")
    for config in configs:
        if _kind(config) not in _READERS:
            raise saved.refused(
                f"its architecture is {str(_kind(config))[:80]!r}; adaptkit has bottlenecks, LoRA, "
                "(IA)3 and prefixes."
            )
    return configs


def _kind(config: dict[str, Any]) -> str | None:
    return config.get("architecture")


def _model(saved: SavedAdapter, base: str | None) -> tuple[Any, HeadKind, Head | None, list[str]]:
    """The base with the head's class, or bare if there is no head that can be converted."""
    name = base or saved.content.get("model_name")
    if not name or not isinstance(name, str):
        raise saved.refused("its configuration names no base; say which: --base MODEL.")
    if saved.head is None:
        return load_base(name), HeadKind("none"), None, []
    kind = head_kind(saved.head)
    if kind.task is not None:
        model = load_base(name, task=kind.task, labels=kind.labels or None)
        head = fit_head(saved.head, model.float())
        if head is not None:
            return model, kind, head, []
    note = f"its head ({kind.name}) is left out: no model of transformers computes the same"
    if kind.task is None:
        note = f"its head ({kind.name}) is left out: adaptkit has no task for it"
    elif kind.labels:
        note += f"; its labels were {', '.join(kind.labels)[:200]}"
    return load_base(name), HeadKind("none"), None, [note]


def _check_base(saved: SavedAdapter, model: Any) -> None:
    """Refuse another architecture or width than the adapter was trained on."""
    for setting in ("model_type", "hidden_size"):
        wanted, given = saved.content.get(setting), getattr(model.config, setting, None)
        if wanted is not None and given is not None and wanted != given:
            raise saved.refused(f"its base has the {setting} {wanted!r}, this one has {given!r}.")


def _adapt(
    saved: SavedAdapter,
    model: Any,
    union: tuple[Method, ...],
    pieces: list[Piece],
    head: Head | None,
) -> Any:
    """The base with the methods injected and filled."""
    if not pieces:
        raise saved.refused("it leaves out every layer.")
    by_key = {piece.key: piece for piece in pieces}
    tensors = {f"{PREFIX}{name}": tensor for name, tensor in (head.tensors if head else {}).items()}
    for path, attachments in plan(model, union).items():
        for one in attachments:
            piece = by_key.pop((path, one.site.key, one.method.name))
            for name, param in one.method.spec(one.site).items():
                if tuple(piece.tensors[name].shape) != param.shape:
                    raise saved.refused(
                        f"{name} of {path} has the shape {tuple(piece.tensors[name].shape)}; the "
                        f"configuration and this base make it {param.shape}."
                    )
                key = f"{PREFIX}{path}.adaptkit_weights.{one.weight_name(name)}"
                tensors[key] = piece.tensors[name]
    assert not by_key, by_key
    adapted = adapt(model, union, head=head.modules if head else [])
    with torch.no_grad():
        for key, slot in adapter_tensors(adapted, "default").items():
            slot.copy_(tensors[key])
    return adapted
