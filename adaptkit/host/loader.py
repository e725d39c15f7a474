"""Load an adapter for a host: read, check and arrange everything before a slot is touched."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from adaptkit.adapters.attachments import Attachment
from adaptkit.adapters.card import CONFIG, TaskCard, task_of
from adaptkit.adapters.files import AdapterFiles, all_finite, check_shapes, read_adapter
from adaptkit.adapters.full import FULL
from adaptkit.adapters.peft_files.read_lora import check_plain, read_peft_lora
from adaptkit.adapters.peft_files.shapes import expected_tensors
from adaptkit.adapters.peft_lora import PREFIX, from_peft_lora, is_plain_lora
from adaptkit.adapters.peft_methods import task_type_of_class
from adaptkit.adapters.store import Store
from adaptkit.errors import AdaptkitError, quoted
from adaptkit.host.backbone import Backbone
from adaptkit.host.heads import Head, Heads
from adaptkit.host.layout import Layout
from adaptkit.methods.base import Method
from adaptkit.methods.grammar import describe_method, parse_method
from adaptkit.models.backbone import linear_shape
from adaptkit.tasks.base import Task
from adaptkit.tasks.registry import find_task
from adaptkit.utils.json_types import fits

# The task of adapters without a card, by PEFT's task type. None: whatever the base itself does with
# a text.
_TASKS = {
    "SEQ_CLS": ("classify", "AutoModelForSequenceClassification"),
    "TOKEN_CLS": ("tag", "AutoModelForTokenClassification"),
    "QUESTION_ANS": ("answer", "AutoModelForQuestionAnswering"),
    "CAUSAL_LM": (None, "AutoModelForCausalLM"),
    "SEQ_2_SEQ_LM": (None, "AutoModelForSeq2SeqLM"),
    "FEATURE_EXTRACTION": (None, "AutoModel"),
}

MOST_KNOWN = 64  # settings of PEFT's whose tensors are remembered


@dataclasses.dataclass
class ParsedAdapter:
    """One complete adapter.

    row: its parameters, `(width,)`, released once they are in a slot. task: None if it answers as
        the base does. card: None if PEFT saved it.
    """

    folder: Path
    layout: Layout
    row: Tensor | None
    head: Head | None
    task: Task | None
    max_length: int
    card: TaskCard | None = None


class AdapterLoader:
    """Reads adapters for one backbone.

    Layouts and task models are made once for all adapters of a kind.
    """

    def __init__(self, backbone: Backbone):
        self.backbone = backbone
        self.heads = Heads(backbone)
        self.outputs = {
            site.module: linear_shape(backbone.network.get_submodule(site.module).base_layer)[1]
            for site in self._maps()
        }
        self.most: int | None = None  # parameters per slot
        self._layouts: dict[tuple[Method, ...], Layout] = {}
        self._expected: dict[tuple[str, str], dict[str, tuple[int, ...]] | None] = {}

    def _maps(self):
        return [site for site in self.backbone.sites if site.kind == "map"]

    def layout(self, union: tuple[Method, ...]) -> Layout:
        """The layout of a union as it is served; explicit sites let equal unions share a layout."""
        found = []
        for method in union:
            names = tuple(sorted({site.name for site in method.place(self.backbone.sites)}))
            found.append(dataclasses.replace(method.served(), sites=names))
        served = tuple(found)
        known = self._layouts.get(served)  # several threads may load: one layout wins
        return known or self._layouts.setdefault(served, Layout(served, self.backbone.sites))

    def methods_in(self, store: Store, cards: dict[str, TaskCard]) -> list[str]:
        """The methods of a store's adapters, if they fit the base and the files are big enough."""
        found = set()
        for name, card in cards.items():
            if not card.method or card.method.startswith("peft:") or card.method == FULL:
                continue
            try:
                if self.layout(parse_method(card.method)).width <= store.bytes(name):
                    found.add(card.method)
            except AdaptkitError:
                continue  # refused, with its reason, on request
        return sorted(found)

    def read(
        self, folder: str | Path, labels: list[str] | None = None, check_base: bool = True
    ) -> ParsedAdapter:
        """Read everything that a host needs of the adapter in `folder`.

        labels: for adapters without a card.

        Raises:
            AdaptkitError: there is no adapter, it is incomplete, belongs to another base, or cannot
                be served. Nothing has changed then.
        """
        try:
            return self._read(read_adapter(folder), labels, check_base)
        except AdaptkitError as problem:
            raise (
                problem if str(folder) in str(problem) else AdaptkitError(f"{folder}: {problem}")
            ) from None
        except (
            Exception
        ) as problem:  # files come from anybody: whatever error they cause is a refusal
            raise AdaptkitError(
                f"{folder} cannot be read as an adapter: {type(problem).__name__}: {problem}"
            ) from problem

    def _read(
        self, files: AdapterFiles, labels: list[str] | None, check_base: bool
    ) -> ParsedAdapter:
        if labels and files.card is not None and files.card.labels and labels != files.card.labels:
            raise AdaptkitError(
                f"its card has the labels {', '.join(files.card.labels)}; labels= is for "
                "adapters without a card."
            )
        task, model_class = self._purpose(files, labels)
        prefix = self.heads.prefix(model_class)
        if check_base:
            files.check_base(self.backbone.fingerprint, self.backbone.name)
        tensors = files.tensors()
        inside = _inside(tensors, prefix)
        if files.is_ours:
            union, weights, rest = self._weights(files, inside)
            layout, deltas = self._fitting(union), {}
        else:
            check_plain(files.settings)
            self._check_complete(files, tensors, model_class)
            foreign = read_peft_lora(files.settings, inside, self._maps(), prefix)
            union, rest, deltas = (foreign.method,), foreign.rest, foreign.deltas
            layout = self._fitting(union)
            weights = foreign.filled(self._maps())
        row = layout.fill(_served(union, layout, weights)).to(self.backbone.dtype)
        if not all_finite(row):
            raise AdaptkitError(f"values are too large for {self.backbone.dtype}")
        head = self._head(task, model_class, prefix, rest, deltas)
        files.check_names(tensors)
        longest = (
            files.card.max_length if files.card is not None else None
        ) or self.backbone.longest
        return ParsedAdapter(
            files.folder,
            layout,
            row,
            head,
            _with_labels(task, head),
            min(longest, self.backbone.longest),
            files.card,
        )

    def _check_complete(
        self, files: AdapterFiles, tensors: dict[str, Tensor], model_class: str
    ) -> None:
        """Refuse a file of PEFT's that lacks tensors, or whose LoRA is not what its settings say.

        How many labels a head has, its tensors say themselves.
        """
        key = model_class, json.dumps(files.settings, sort_keys=True)
        if key not in self._expected:
            if len(self._expected) >= MOST_KNOWN:
                self._expected.clear()
            whole = self.heads.fresh(model_class)
            self._expected[key] = expected_tensors(files.settings, whole, files.folder / CONFIG)
        expected = self._expected[key] or {}
        wanted = {
            name: shape if "lora_" in name or name not in tensors else tuple(tensors[name].shape)
            for name, shape in expected.items()
        }
        given = {
            name: tuple(tensor.shape)
            for name, tensor in tensors.items()
            if "lora_" in name or name in wanted
        }
        check_shapes(files.folder, given, wanted)

    def _fitting(self, union: tuple[Method, ...]) -> Layout:
        """The layout of a union if a slot can hold it; checked before any memory is allocated."""
        layout = self.layout(union)
        if self.most is not None and layout.width > self.most:
            need = describe_method(layout.union)
            raise AdaptkitError(
                f"it has {layout.width:,} numbers, a slot holds {self.most:,}: Host(..., "
                f"slot_capacity={need!r}) makes slots that hold it."
            )
        return layout

    def _purpose(self, files: AdapterFiles, labels: list[str] | None) -> tuple[Task | None, str]:
        """The adapter's task, and the class of the task model that it was trained in."""
        card = files.card
        own_class = card.model_class if card is not None else None
        if card is not None and card.task is not None:
            task = task_of(card)
            if not task.hosted:
                raise AdaptkitError(f"no host answers {card.task}: take adaptkit.Predictor.")
            if own_class is not None and own_class != self.heads.class_name(task.auto_class):
                wanted = self.heads.class_name(task.auto_class)
                raise AdaptkitError(
                    f"it was trained as {quoted(own_class)}, {card.task} over this base is "
                    f"{wanted}: another base, or a wrong card."
                )
            if files.is_ours and not card.labels and _needs_labels(task):
                raise AdaptkitError("its card names no labels: its head's outputs mean nothing.")
            return (task if task.answers else None), task.auto_class
        own_class = own_class or (files.settings.get("auto_mapping") or {}).get("base_model_class")
        kind = (
            files.settings.get("task_type")
            or (own_class and task_type_of_class(own_class))
            or "FEATURE_EXTRACTION"
        )
        if kind not in _TASKS:
            raise AdaptkitError(f"task type {kind!r} is not known; known are {', '.join(_TASKS)}.")
        name, auto_class = _TASKS[kind]
        if name is None:
            return None, own_class or auto_class
        names = labels or (card.labels if card is not None else None) or []
        if not fits(names, list[str]) or len(set(names)) < len(names):
            raise AdaptkitError(f"labels are different texts in a list; it got {quoted(names)}.")
        if kind == "TOKEN_CLS" and not names:
            raise AdaptkitError(
                "it does not say what its tags are: load(..., labels=['O', 'B-person', ...])."
            )
        return find_task(name)(labels=list(names)), own_class or auto_class

    def _weights(self, files: AdapterFiles, tensors: dict[str, Tensor]):
        """The union, its weights by (module path, name in the layer), and the head's tensors."""
        # saved by adaptkit
        assert files.card is not None
        assert files.card.method is not None
        union = parse_method(files.card.method)
        plan: dict[str, list[Attachment]] = {}
        for index, method in enumerate(union):
            for site in method.place(self.backbone.sites):
                plan.setdefault(site.module, []).append(Attachment(method, site, index))
        self._fitting(union)
        if is_plain_lora(union):
            tensors = from_peft_lora(plan, tensors, {path: self.outputs[path] for path in plan})
        wanted, keys = {}, {}
        for path, attachments in plan.items():
            for attachment in attachments:
                for name, param in attachment.method.spec(attachment.site).items():
                    key = f"{PREFIX}{path}.adaptkit_weights.{attachment.weight_name(name)}"
                    wanted[key], keys[key] = param.shape, (path, attachment.weight_name(name))
        given = {
            key: tuple(tensor.shape)
            for key, tensor in tensors.items()
            if key in wanted or ".adaptkit_weights." in key
        }
        check_shapes(files.folder, given, wanted)
        return (
            union,
            {keys[key]: tensors[key] for key in wanted},
            {k: t for k, t in tensors.items() if k not in wanted},
        )

    def _head(
        self, task: Task | None, model_class: str, prefix: str, rest: dict[str, Tensor], deltas
    ) -> Head | None:
        """A head from the remaining tensors, all of which must belong to it.

        deltas: what a PEFT LoRA adds to maps of the head or to the base's pooler, by path.
        """
        pooler = getattr(self.backbone.network, "pooler", None)
        own = (
            {}
            if pooler is None
            else {f"pooler.{name}": value for name, value in pooler.state_dict().items()}
        )
        names = {name.removeprefix(PREFIX): tensor for name, tensor in rest.items()}
        for path, delta in deltas.items():
            weight = f"{path}.weight"
            names = {**own, **names} if weight in own else names
            if weight not in names or names[weight].shape != delta.shape:
                raise AdaptkitError(
                    f"it changes {path}, which is no linear map of a layer, or has another shape."
                )
            names[weight] = names[weight].float() + delta
        if task is None or task.generates or self.heads.is_bare(model_class):
            left = sorted(names.keys() - own.keys())  # no pooler is used here
            if left:
                raise AdaptkitError(f"{len(left)} tensors belong nowhere, the first is {left[0]}.")
            return None
        named = {prefix + name if name in own else name: tensor for name, tensor in names.items()}
        return self.heads.make(model_class, named, task.labels)


def _needs_labels(task: Task) -> bool:
    """True for tasks whose head has an output for each label."""
    return task.auto_class.endswith("Classification") and task.problem_type != "regression"


def _with_labels(task: Task | None, head: Head | None) -> Task | None:
    """A task for an adapter without a card, with default label names; one output is a score."""
    if task is None or head is None or task.labels or task.name not in ("classify", "tag"):
        return task
    count = head.model.labels
    return (
        find_task("score")()
        if count == 1
        else dataclasses.replace(task, labels=[f"LABEL_{i}" for i in range(count)])
    )


def _inside(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """A file's tensors in fp32, with their paths below the network."""
    start, found = PREFIX + prefix, {}
    for name, tensor in tensors.items():
        inside = PREFIX + name[len(start) :] if name.startswith(start) else name
        if inside in found:
            raise AdaptkitError(f"two tensors are {inside.removeprefix(PREFIX)}; which is meant?")
        found[inside] = tensor.float()
    return found


def _served(
    union: tuple[Method, ...], layout: Layout, weights: dict[tuple[str, str], Tensor]
) -> dict[tuple[str, str], Tensor]:
    """The weights for the layout's methods, by (module path, name)."""
    found: dict[tuple[str, str], Any] = {}
    for attachment in layout.attachments:
        given = Attachment(union[attachment.index], attachment.site, attachment.index)
        path = attachment.site.module
        p = {name: weights[path, key] for name, key in given.weight_names.items()}
        with torch.no_grad():
            for name, tensor in given.method.to_served(p).items():
                found[path, attachment.weight_name(name)] = tensor
    return found
