"""An adapter on its way into a host: everything is read, checked and brought into place before a slot is touched."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from adaptkit import methods, tasks
from adaptkit.errors import AdaptkitError
from adaptkit.host.backbone import Backbone
from adaptkit.host.foreign_lora import read_foreign_lora
from adaptkit.host.heads import Head, Heads
from adaptkit.host.layout import Layout
from adaptkit.layers import Attachment
from adaptkit.methods.base import Method
from adaptkit.native_lora import PREFIX, from_native, is_plain
from adaptkit.sites import linear_shape
from adaptkit.tasks.base import Task
from adaptkit.weights import AdapterFiles, all_finite, check_shapes, read_adapter

# What adapters without a card are for, by PEFT's task type. None: what the base itself does with a text.
_TASKS = {
    "SEQ_CLS": ("classify", "AutoModelForSequenceClassification"),
    "TOKEN_CLS": ("tag", "AutoModelForTokenClassification"),
    "QUESTION_ANS": ("answer", "AutoModelForQuestionAnswering"),
    "CAUSAL_LM": (None, "AutoModelForCausalLM"),
    "SEQ_2_SEQ_LM": (None, "AutoModelForSeq2SeqLM"),
    "FEATURE_EXTRACTION": (None, "AutoModel"),
}


@dataclasses.dataclass
class Incoming:
    """One adapter, whole.

    row: its numbers, `(width,)`, given away when they are in a slot. task: None where it answers as the base does.
    """

    folder: Path
    layout: Layout
    row: Tensor | None
    head: Head | None
    task: Task | None
    max_length: int


class Intake:
    """Reads adapters for one backbone. Layouts and task models are made once for all adapters of a kind."""

    def __init__(self, backbone: Backbone):
        self.backbone = backbone
        self.heads = Heads(backbone)
        self.outputs = {
            site.module: linear_shape(backbone.network.get_submodule(site.module).base_layer)[1] for site in self._maps()
        }
        self._layouts: dict[tuple[Method, ...], Layout] = {}

    def _maps(self):
        return [site for site in self.backbone.sites if site.kind == "map"]

    def layout(self, union: tuple[Method, ...]) -> Layout:
        """The layout of a union as it is served; sites are written out, so that two ways to name them are one layout."""
        found = []
        for method in union:
            names = tuple(sorted({site.name for site in method.place(self.backbone.sites)}))
            found.append(dataclasses.replace(method.served(), sites=names))
        served = tuple(found)
        known = self._layouts.get(served)  # several threads may load: one layout wins
        return known or self._layouts.setdefault(served, Layout(served, self.backbone.sites))

    def read(self, folder: str | Path, labels: list[str] | None = None, check_base: bool = True) -> Incoming:
        """Everything that a host needs of the adapter in `folder`.

        labels: of adapters without a card.

        Raises:
            AdaptkitError: no adapter, not a whole one, of another base, or nothing that a host can serve. Nothing has changed then.
        """
        files = read_adapter(folder)
        task, model_class = self._purpose(files, labels)
        prefix = self.heads.prefix(model_class)
        if check_base:
            files.check_base(self.backbone.fingerprint, self.backbone.name)
        tensors = files.tensors()
        try:
            inside = {_relative(name, prefix): tensor.float() for name, tensor in tensors.items()}
            union, weights, rest = self._weights(files, inside, prefix)
            layout = self.layout(union)
            row = layout.fill(_served(union, layout, weights)).to(self.backbone.dtype)
            if not all_finite(row):
                raise AdaptkitError(f"values are too large for {self.backbone.dtype}")
            head = self._head(task, model_class, prefix, rest)
            task = _with_labels(task, head)
        except AdaptkitError as problem:
            raise problem if str(folder) in str(problem) else AdaptkitError(f"{files.folder}: {problem}") from None
        length = files.card.max_length if files.card is not None else None
        return Incoming(files.folder, layout, row, head, task, length or 128)

    def _purpose(self, files: AdapterFiles, labels: list[str] | None) -> tuple[Task | None, str]:
        """The adapter's task, and the transformers class of the task model that it was trained in."""
        card = files.card
        if card is not None and card.task is not None:
            task = tasks.from_card(card)
            return (task if task.answers else None), card.model_class or task.auto_class
        kind = files.settings.get("task_type") or "FEATURE_EXTRACTION"
        if kind not in _TASKS:
            raise AdaptkitError(f"{files.folder}: task type {kind!r} is not known; known are {', '.join(_TASKS)}.")
        name, auto_class = _TASKS[kind]
        auto_class = (card.model_class if card is not None else None) or auto_class
        if name is None:
            return None, auto_class
        names = labels or (card.labels if card is not None else None) or []
        if kind == "TOKEN_CLS" and not names:
            raise AdaptkitError(f"{files.folder} does not say what its tags are: load(..., labels=['O', 'B-person', ...]).")
        return tasks.find(name)(labels=list(names)), auto_class

    def _weights(self, files: AdapterFiles, tensors: dict[str, Tensor], prefix: str):
        """The union, its weights by (module path, name inside the layer), and the tensors that are left for the head."""
        card = files.card
        if card is None or card.method is None or card.method.startswith("peft:"):
            return read_foreign_lora(files.settings, tensors, self._maps(), prefix)
        union = methods.parse(card.method)
        plan: dict[str, list[Attachment]] = {}
        for index, method in enumerate(union):
            for site in method.place(self.backbone.sites):
                plan.setdefault(site.module, []).append(Attachment(method, site, index))
        if is_plain(union):
            tensors = from_native(plan, tensors, {path: self.outputs[path] for path in plan})
        wanted, keys = {}, {}
        for path, attachments in plan.items():
            for attachment in attachments:
                for name, param in attachment.method.spec(attachment.site).items():
                    key = f"{PREFIX}{path}.adaptkit_weights.{attachment.weight_name(name)}"
                    wanted[key], keys[key] = param.shape, (path, attachment.weight_name(name))
        given = {key: tuple(tensor.shape) for key, tensor in tensors.items() if key in wanted or ".adaptkit_weights." in key}
        check_shapes(files.folder, given, wanted)
        return union, {keys[key]: tensors[key] for key in wanted}, {k: t for k, t in tensors.items() if k not in wanted}

    def _head(self, task: Task | None, model_class: str, prefix: str, rest: dict[str, Tensor]) -> Head | None:
        """A head from the tensors that are left; every one of them has to belong to it."""
        pooler = getattr(self.backbone.network, "pooler", None)
        own = {} if pooler is None else {f"{PREFIX}pooler.{name}": value for name, value in pooler.state_dict().items()}
        if deltas := {key: rest.pop(key) for key in list(rest) if key.endswith(".lora_delta")}:
            for key, delta in deltas.items():  # a LoRA of PEFT's on a map of the head, or on the pooler
                weight = key.removesuffix(".lora_delta") + ".weight"
                rest = {**own, **rest} if weight in own else rest
                if weight not in rest:
                    raise AdaptkitError(f"it changes {key[len(PREFIX) : -len('.lora_delta')]}, which is no linear map of a layer.")
                rest[weight] = rest[weight].float() + delta
        reads = task is not None and not task.generates and not self.heads.is_bare(model_class)
        names = {name.removeprefix(PREFIX): tensor for name, tensor in rest.items()}
        if not reads:
            names = {name: tensor for name, tensor in names.items() if f"{PREFIX}{name}" not in own}  # nothing reads a pooler here
            if names:
                raise AdaptkitError(f"{len(names)} tensors belong nowhere, the first is {min(names)}.")
            return None
        named = {prefix + name if f"{PREFIX}{name}" in own else name: tensor for name, tensor in names.items()}
        return self.heads.make(model_class, named, task.labels)


def _with_labels(task: Task | None, head: Head | None) -> Task | None:
    """A task of an adapter without a card, with the labels that transformers gives nameless ones; one output is a score."""
    if task is None or head is None or task.labels or task.name not in ("classify", "tag"):
        return task
    count = head.model.config.num_labels
    return tasks.find("score")() if count == 1 else dataclasses.replace(task, labels=[f"LABEL_{i}" for i in range(count)])


def _relative(name: str, prefix: str) -> str:
    """A file's name of a tensor, with its path below the network."""
    start = PREFIX + prefix
    return PREFIX + name[len(start) :] if prefix and name.startswith(start) else name


def _served(union: tuple[Method, ...], layout: Layout, weights: dict[tuple[str, str], Tensor]) -> dict[tuple[str, str], Tensor]:
    """The weights as the layout's methods want them, by (module path, name)."""
    found: dict[tuple[str, str], Any] = {}
    for attachment in layout.attachments:
        given = Attachment(union[attachment.index], attachment.site, attachment.index)
        path = attachment.site.module
        p = {name: weights[path, key] for name, key in given.weight_names.items()}
        with torch.no_grad():
            for name, tensor in given.method.to_served(p).items():
                found[path, attachment.weight_name(name)] = tensor
    return found
