"""Task heads: transformers' task models whose network is replaced by one with known outputs."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from adaptkit.errors import AdaptkitError
from adaptkit.host.backbone import Backbone
from adaptkit.models.backbone import backbone_of
from adaptkit.models.load import load_base
from adaptkit.models.pooled import find_class


class Replay(nn.Module):
    """Stands in for the network and returns the real one's outputs.

    A pooler that belongs to the head is run again.
    """

    def __init__(self, pooler: nn.Module | None):
        super().__init__()
        self.outputs: Any = None
        self.pooler = pooler

    def forward(self, *args, **kwargs):
        if self.pooler is None:
            return self.outputs
        return dataclasses.replace(
            self.outputs, pooler_output=self.pooler(self.outputs.last_hidden_state)
        )


class HeadModel:
    """A task model on the meta device, shared by all heads of its shape.

    shapes: of its parameters. labels: their number.
    """

    def __init__(self, model: Any, replay: Replay):
        self.model, self.replay = model, replay
        self.labels: int = model.config.num_labels
        self.shapes = {name: tuple(one.shape) for name, one in model.named_parameters()}
        everywhere = dict(model.named_parameters(remove_duplicate=False))
        self._places: dict[str, list[tuple[dict[str, Any], str]]] = {}
        for name in self.shapes:
            tied = [other for other, one in everywhere.items() if one is everywhere[name]]
            self._places[name] = [self._place(other) for other in tied]

    def _place(self, name: str) -> tuple[dict[str, Any], str]:
        module, _, parameter = name.rpartition(".")
        return self.model.get_submodule(module)._parameters, parameter

    def __call__(self, tensors: dict[str, Tensor], outputs: Any, inputs: dict[str, Tensor]) -> Any:
        """Its outputs with these parameters; `functional_call` does so in twice the time."""
        for name, tensor in tensors.items():
            for parameters, parameter in self._places[name]:
                parameters[parameter] = tensor
        self.replay.outputs = outputs
        try:
            return self.model(**inputs)
        finally:
            self.replay.outputs = None


@dataclasses.dataclass
class Head:
    """One adapter's head: a task model, and the values of its parameters."""

    model: HeadModel
    tensors: dict[str, Tensor]

    def __call__(self, outputs: Any, inputs: dict[str, Tensor]) -> Any:
        """The task model's outputs for rows with these hidden states.

        Only one thread at a time may call heads.
        """
        return self.model(self.tensors, outputs, inputs)

    @property
    def bytes(self) -> int:
        return sum(tensor.nbytes for tensor in self.tensors.values())


class Heads:
    """Makes heads over one backbone; task models of one shape are made once."""

    def __init__(self, backbone: Backbone):
        self.backbone = backbone
        self._models: dict[tuple[str, int, bool], HeadModel] = {}
        self._prefixes: dict[str, str] = {}
        self._names: dict[str, str] = {}
        self._heads_of_base: dict[tuple[str, int], dict[str, Tensor]] = {}

    def prefix(self, model_class: str) -> str:
        """The prefix of the network's parameter names in a task model: `bert.`.

        Args:
            model_class: a transformers class, or an Auto class.

        Raises:
            AdaptkitError: the task model does not use the network as the host runs it.
        """
        if model_class not in self._prefixes:
            model = self.fresh(model_class)
            network, prefix = backbone_of(model)
            if type(network) is not type(self.backbone.network) and type(model) is not type(
                self.backbone.model
            ):
                raise AdaptkitError(
                    f"{type(model).__name__} is no {type(self.backbone.network).__name__} with a "
                    "head behind it, so a host cannot "
                    "serve it; answer with adaptkit.Predictor."
                )
            self._prefixes[model_class] = prefix
        return self._prefixes[model_class]

    def class_name(self, model_class: str) -> str:
        """The name of the class behind an Auto class, or the name itself."""
        if model_class not in self._names:
            self._names[model_class] = type(self.fresh(model_class)).__name__
        return self._names[model_class]

    def is_bare(self, model_class: str) -> bool:
        """True if a class is the network alone."""
        return model_class in ("AutoModel", type(self.backbone.network).__name__)

    def fresh(self, model_class: str, labels: int = 2) -> Any:
        """A task model without memory for its parameters."""
        config = copy.deepcopy(self.backbone.model.config)
        config.num_labels = labels
        make: Any = find_class(model_class)
        is_auto = model_class.startswith("AutoModel")
        if not is_auto and not (isinstance(make, type) and issubclass(make, PreTrainedModel)):
            raise AdaptkitError(f"{model_class} is no model of transformers.")
        try:
            with torch.device("meta"):
                return (make.from_config if is_auto else make)(config).eval()
        except (ValueError, AttributeError) as problem:
            raise AdaptkitError(
                f"{self.backbone.name} makes no {model_class}: {str(problem)[:120]}"
            ) from problem

    def make(self, model_class: str, tensors: dict[str, Tensor], labels: list[str]) -> Head:
        """A head from its tensors by their names in the task model.

        Tensors that the base's checkpoint holds are taken from there.

        Raises:
            AdaptkitError: tensors are missing, unexpected, or have a wrong shape.
        """
        own_pooler = any(name.startswith(self.prefix(model_class) + "pooler.") for name in tensors)
        self._check_pooler(model_class, own_pooler)
        counts = (
            [len(labels)]
            if labels
            else sorted({tensor.shape[0] for tensor in tensors.values() if tensor.ndim}) or [2]
        )
        problem = ""
        for count in counts:
            model = self._model(model_class, count, own_pooler)
            wanted = model.shapes
            given = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
            if missing := wanted.keys() - given.keys():
                known = self._of_base(model_class, count, missing)
                tensors, given = (
                    {**known, **tensors},
                    {**{name: tuple(t.shape) for name, t in known.items()}, **given},
                )
            if given == wanted:
                placed = {
                    name: tensor.to(self.backbone.device, self.backbone.dtype)
                    for name, tensor in tensors.items()
                }
                return Head(model, placed)
            problem = _difference(given, wanted)
        raise AdaptkitError(
            f"its head does not fit {model_class} with {counts[-1]} labels: {problem}"
        )

    def _check_pooler(self, model_class: str, stored: bool) -> None:
        """Refuse a head behind a pooler that neither the base nor the adapter holds."""
        record = getattr(self.backbone.model, "adaptkit_base", None)
        if stored or record is None or not any(name.endswith("pooler") for name in record.head):
            return
        network, _ = backbone_of(self.fresh(model_class))
        if getattr(network, "pooler", None) is not None:
            raise AdaptkitError(
                f"its head reads {self.backbone.name}'s pooler, which neither that checkpoint nor "
                "the adapter holds: its answers would be random."
            )

    def _model(self, model_class: str, labels: int, own_pooler: bool) -> HeadModel:
        key = model_class, labels, own_pooler
        if key not in self._models:
            prefix, model = self.prefix(model_class), self.fresh(model_class, labels)
            if not prefix:
                raise AdaptkitError(
                    f"{model_class} of {self.backbone.name} has no head of its own."
                )
            path = prefix.rstrip(".")
            replay = Replay(getattr(getattr(model, path), "pooler", None) if own_pooler else None)
            setattr(model, path, replay)
            self._models.setdefault(key, HeadModel(model, replay))
        return self._models[key]

    def _of_base(self, model_class: str, labels: int, names: set[str]) -> dict[str, Tensor]:
        """Head parameters from the base's checkpoint (a fine-tuned model adapted further)."""
        record = getattr(self.backbone.model, "adaptkit_base", None)
        if record is None:
            return {}
        if (model_class, labels) not in self._heads_of_base:
            whole: Any = load_base(
                record.name, task=model_class, labels=labels, revision=record.revision
            )
            new, prefix = tuple(whole.adaptkit_base.head), self.prefix(model_class)
            self._heads_of_base[model_class, labels] = {
                name: parameter.data
                for name, parameter in whole.named_parameters()
                if not name.startswith(prefix)
                and not any(name == part or name.startswith(part + ".") for part in new)
            }
        return {
            name: tensor
            for name, tensor in self._heads_of_base[model_class, labels].items()
            if name in names
        }


def _difference(given: dict[str, tuple], wanted: dict[str, tuple]) -> str:
    parts = []
    if missing := sorted(wanted.keys() - given.keys()):
        parts.append(f"{', '.join(missing)} missing")
    if extra := sorted(given.keys() - wanted.keys()):
        parts.append(f"{', '.join(extra)} belong nowhere")
    parts += [
        f"{n} has shape {given[n]}, not {wanted[n]}"
        for n in sorted(given.keys() & wanted.keys())
        if given[n] != wanted[n]
    ]
    return "; ".join(parts)
