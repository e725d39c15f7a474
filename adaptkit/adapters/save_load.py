"""Save and load adapters: weights, configuration and task card. Strict to load, atomic to save.

adapter_model.safetensors   the weights and the head, under PEFT's names
adapter_config.json         a PEFT configuration; plain LoRA is saved as PEFT's own LORA, which
                            loads without adaptkit
task.json                   the card: task, labels in order, columns, base and its fingerprint,
                            method, metrics, versions
"""

from __future__ import annotations

import dataclasses
import hashlib
import warnings
from pathlib import Path
from typing import Any, cast

import peft
import torch
from peft.utils import get_peft_model_state_dict
from safetensors.torch import save_file
from torch import Tensor, nn

from adaptkit.adapters.card import CARD, CONFIG, WEIGHTS, TaskCard, read_card, task_of
from adaptkit.adapters.files import AdapterFiles, check_shapes, read_adapter
from adaptkit.adapters.full import FULL
from adaptkit.adapters.inject import adapt
from adaptkit.adapters.model_card import short_card
from adaptkit.adapters.peft_files.inject import inject_by_peft
from adaptkit.adapters.peft_lora import (
    is_plain_lora,
    peft_lora_config,
    to_peft_lora,
)
from adaptkit.adapters.peft_methods import peft_task_type
from adaptkit.adapters.tensors import adapter_tensors, as_ours, expected_shapes, output_widths
from adaptkit.adapters.tuner import AdaptConfig, check_adapter_name, plan
from adaptkit.errors import AdaptkitError, quoted
from adaptkit.methods.grammar import parse_method
from adaptkit.methods.lora import LoRA
from adaptkit.models.backbone import backbone_of, base_modules
from adaptkit.models.load import fingerprint_now, load_base
from adaptkit.models.pooled import auto_mapping
from adaptkit.models.quantization import quantization_of
from adaptkit.utils.atomic_files import new_version
from adaptkit.utils.json_files import write_json
from adaptkit.utils.versions import versions


def save_adapter(
    model: peft.PeftModel,
    folder: str | Path,
    *,
    adapter_name: str | None = None,
    card: TaskCard | None = None,
):
    """Save one adapter of `model` and its head to `folder`, atomically.

    Args:
        model: from `adapt`, or any PeftModel.
        folder: created if missing; an existing adapter is replaced, other files stay. A README.md
            is written if there is none.
        adapter_name: defaults to the active adapter.
        card: task, labels and other fields; base, method, versions and checksum are filled in.
    """
    name = adapter_name or model.active_adapter
    if name not in model.peft_config:
        raise AdaptkitError(
            f"the model has no adapter {name!r}; it has {', '.join(model.peft_config)}."
        )
    base, config = model.get_base_model(), model.peft_config[name]
    saved = _saved_tensors(
        model, name
    ).items()  # two names may share a tensor, as with PEFT's bias=all: copy each
    tensors = {
        key: one.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        for key, one in saved
    }
    if isinstance(config, AdaptConfig):
        union = parse_method(config.method)
        method, settings = config.method, _settings(config)
        if is_plain_lora(union):
            planned = plan(base, union)
            tensors = to_peft_lora(planned, tensors, output_widths(base, planned))
            settings = peft_lora_config(planned, cast(LoRA, union[0]), base, config.modules_to_save)
    else:
        method, settings = f"peft:{config.peft_type.value}", _settings(config)
    card = _complete(card or TaskCard(), base, method)
    settings |= {"base_model_name_or_path": card.base, "revision": card.revision}
    settings |= _class_for_peft(base, settings)
    with new_version(folder) as staged:
        save_file(tensors, staged / WEIGHTS, metadata={"format": "pt"})
        card.weights_sha256 = hashlib.sha256((staged / WEIGHTS).read_bytes()).hexdigest()
        write_json(
            staged / CONFIG,
            {key: value for key, value in sorted(settings.items()) if value is not None},
        )
        write_json(
            staged / CARD, dataclasses.asdict(card) | {"base": _beside(card.base, Path(folder))}
        )
        if not (Path(folder) / "README.md").exists():
            (staged / "README.md").write_text(short_card(card, Path(folder)), "utf-8")


def load_adapter(
    folder: str | Path,
    base: nn.Module | None = None,
    *,
    adapter_name: str = "default",
    trainable: bool = False,
    check_base: bool = True,
    **base_options: Any,
) -> peft.PeftModel:
    """Load an adapter, completely or not at all.

    Args:
        folder: saved by `save_adapter`, or by PEFT (then `base` is required).
        base: the model to load it into, or a PeftModel to add it to. Defaults to the base that the
            card names.
        adapter_name: its name inside the model.
        trainable: continue to train it.
        check_base: refuse any base other than the one the adapter was trained on.
        base_options: for `load_base`: dtype, device_map, ...; quantize defaults to the setting used
            in training.

    Raises:
        AdaptkitError: the folder holds no adapter; a tensor is missing, unexpected, misshapen or
            non-finite; the base is a different one; a file has changed.
    """
    card = read_card(folder)  # a full model has no other adapter files
    if card is not None and card.method == FULL:
        if base is not None:
            raise AdaptkitError(
                f"{folder} holds a whole model and no adapter: it cannot be put on a base."
            )
        return load_base(
            str(folder), task=_head_of(card), labels=card.labels or None, **base_options
        ).eval()
    check_adapter_name(adapter_name)
    files = read_adapter(folder)
    folder, card, settings, tensors = files.folder, files.card, files.settings, files.tensors()
    ours = card is not None and card.method is not None and not card.method.startswith("peft:")
    fresh = base is None
    if base is None:
        if card is None or card.base is None:
            what = f"has no {CARD}" if card is None else f"names no base in its {CARD}"
            raise AdaptkitError(
                f"{folder} {what}, so its base is not known: pass base=load_base(...)."
            )
        base_options["quantize"] = base_options.get("quantize") or card.quantize
        base = load_base(
            card.base,
            task=_head_of(card),
            labels=card.labels or None,
            revision=card.revision,
            **base_options,
        )
    bare = base.get_base_model() if isinstance(base, peft.PeftModel) else base
    if check_base:
        record = getattr(bare, "adaptkit_base", None)
        now = record.fingerprint if record and fresh else fingerprint_now(bare)
        files.check_base(now, record.name if record else getattr(bare, "name_or_path", ""))
    _check_head(folder, bare, tensors)
    if fresh:
        _check_class(card, bare, folder)
    labels = card.labels if card is not None else []
    names = _label_names(folder, bare, labels, alone=bare is base)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*")
        if ours:
            model = _inject(
                files,
                base,
                bare,
                str(card and card.method),
                settings.get("modules_to_save") or [],
                tensors,
                adapter_name,
            )
        else:
            model = inject_by_peft(files, base, bare, tensors, adapter_name)
    model.set_adapter(adapter_name, inference_mode=not trainable)
    if names:
        bare.config.id2label = dict(enumerate(names))
        bare.config.label2id = {label: index for index, label in enumerate(names)}
    return model if trainable else model.eval()


def _head_of(card: TaskCard) -> str | None:
    """The transformers class whose head the adapter was trained with."""
    return task_of(card).auto_class if card.task else card.model_class


def _check_head(folder: Path, bare: Any, tensors: dict[str, Tensor]) -> None:
    """Refuse an adapter without weights for what the base's checkpoint does not hold.

    The head's numbers would be random, in every process others. A model without a head may have a
    fresh pooler that nothing reads.
    """
    record = getattr(bare, "adaptkit_base", None)
    if record is None or not backbone_of(bare)[1]:
        return
    modules = base_modules(bare)
    for path in record.head:
        names = [name for name, _ in modules[path].named_parameters()]
        missing = [  # PEFT's prompts have another prefix
            name for name in names if not any(key.endswith(f".{path}.{name}") for key in tensors)
        ]
        if missing:
            raise AdaptkitError(
                f"{folder} holds no {path}.{missing[0]}, and the checkpoint of {record.name} does "
                f"not either: this {type(bare).__name__} would answer at random. Load the base "
                "with the task that the adapter was trained for."
            )


def _check_class(card: TaskCard | None, bare: Any, folder: Path) -> None:
    """Refuse a card whose task is another than the class that it was trained in."""
    trained = card.model_class if card is not None else None
    if card is not None and trained and trained != type(bare).__name__:
        raise AdaptkitError(
            f"{folder} was trained as {quoted(trained)}; {quoted(card.task or '')} over this base "
            f"is {type(bare).__name__}: a wrong card."
        )


def _saved_tensors(model: peft.PeftModel, name: str) -> dict[str, Tensor]:
    if isinstance(model.peft_config[name], AdaptConfig):
        return adapter_tensors(model, name)
    return get_peft_model_state_dict(model, adapter_name=name, save_embedding_layers=False)


def _inject(
    files: AdapterFiles, base, bare, method: str, head: list[str], tensors, adapter_name: str
) -> peft.PeftModel:
    """Check every tensor against what the adapter needs on this base, then inject and fill it."""
    union = parse_method(method)
    planned = plan(bare, union)
    stored, tensors = tensors, as_ours(files.folder, bare, union, planned, tensors)
    check_shapes(
        files.folder,
        {key: tuple(t.shape) for key, t in tensors.items()},
        expected_shapes(bare, planned, head),
    )
    files.check_names(stored)
    model = adapt(base, union, adapter_name=adapter_name, head=head)
    with torch.no_grad():
        for key, slot in adapter_tensors(model, adapter_name).items():
            slot.copy_(tensors[key])
    return model


def _beside(base: str | None, folder: Path) -> str | None:
    """The path of a base inside the adapter's folder, relative to it, so that both can be moved."""
    if base and Path(base).is_dir() and Path(base).is_relative_to(folder.absolute()):
        return f"./{Path(base).relative_to(folder.absolute())}"
    return base


def _label_names(folder: Path, base: Any, labels: list[str], alone: bool) -> list[str]:
    """The adapter's labels if the base has no names for them yet; a model has one list of names.

    Args:
        alone: the base carries no other adapter.

    Raises:
        AdaptkitError: the base has other labels, or has them in another order.
    """
    names = getattr(base.config, "id2label", None) or {}
    own = [names[index] for index in sorted(names)]
    if not labels or len(own) != len(labels) or own == labels:
        return []
    if alone and own == [f"LABEL_{index}" for index in range(len(own))]:
        return labels
    other = f"load_base(..., labels={labels})"
    hint = other if alone else f"give it a base of its own, {other}, or serve both with a Host"
    raise AdaptkitError(
        f"{folder} has the labels {labels} in this order, the base has {own}: {hint}."
    )


def _complete(card: TaskCard, base: Any, method: str) -> TaskCard:
    record = getattr(base, "adaptkit_base", None)
    known: dict[str, Any] = {
        "method": method,
        "model_class": type(base).__name__,
        "versions": versions(),
    }
    if not card.labels and type(base).__name__.endswith("Classification"):
        known["labels"] = [base.config.id2label[index] for index in range(base.config.num_labels)]
    known["base"] = record.name if record else getattr(base, "name_or_path", None) or None
    known["revision"] = record.revision if record else None
    known["quantize"] = quantization_of(base)
    edited = record and method.startswith(
        "peft:"
    )  # PEFT has methods that train or split base weights
    known["fingerprint"] = record.fingerprint if edited else fingerprint_now(base)
    return dataclasses.replace(card, **known)


def _class_for_peft(base: Any, settings: dict[str, Any]) -> dict[str, Any]:
    """How PEFT finds the class of the model: by its task, or by name where it is not one of
    transformers'.
    """
    if own := auto_mapping(base):
        return {"task_type": None, "auto_mapping": own}
    task_type = peft_task_type(base)
    return {"task_type": settings.get("task_type") or (task_type and task_type.value)}


def _settings(config: peft.PeftConfig) -> dict[str, Any]:
    """A PEFT configuration as JSON, marked for inference as PEFT itself saves it."""
    content = config.to_dict() | {"inference_mode": True}
    return {
        key: sorted(value) if isinstance(value, set) else value for key, value in content.items()
    }
