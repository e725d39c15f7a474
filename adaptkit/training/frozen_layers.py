"""Skip frozen layers: those below the first trained one run once per text.

Their output depends only on the text. While `FrozenLayers` is in place, the first forward pass over
a text stores the output of the last frozen layer in the activation cache. Later passes over texts
that are all in the cache skip the frozen layers and start from there. Model, task and Trainer stay
unchanged. A layer is skipped through an instance attribute `forward`, as in accelerate's hooks;
names and weights stay as they are.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from adaptkit.errors import AdaptkitError
from adaptkit.models.backbone import backbone_of
from adaptkit.models.find_sites import first_layers
from adaptkit.models.forward_wrapper import ForwardWrapper
from adaptkit.models.probe import outputs_stay
from adaptkit.training.activation_cache import ActivationCache, BatchKeys


def frozen_layers(model: Any) -> list[nn.Module]:
    """The layers of the stack that reads the text, below the first one that trains.

    Empty if anything before the layers trains, if layers are shared, and in networks that are not
    Transformers.
    """
    try:
        layers = first_layers(model)
    except AdaptkitError:
        return []
    if len(layers) != getattr(model.config.get_text_config(), "num_hidden_layers", len(layers)):
        return []  # ALBERT runs one layer many times
    inside = {id(parameter) for layer in layers for parameter in layer.parameters()}
    backbone, _ = backbone_of(model)
    for parameter in backbone.parameters():  # in the order in which they are used
        if id(parameter) in inside:
            break
        if parameter.requires_grad:
            return []
    trains = [any(parameter.requires_grad for parameter in layer.parameters()) for layer in layers]
    return layers[: trains.index(True)] if True in trains else layers


class SkippedLayer(ForwardWrapper):
    """Stands in for the `forward` of one frozen layer."""

    def __init__(self, frozen: FrozenLayers, layer: nn.Module, last: bool):
        super().__init__(layer)
        self.frozen, self.last = frozen, last

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        frozen = self.frozen
        if frozen.texts is None:
            return self.forward(*args, **kwargs)
        if frozen.start is not None:
            states = args[0] if args else kwargs["hidden_states"]
            return frozen.shaped(frozen.start if self.last else states)
        with torch.no_grad():
            given = self.forward(*args, **kwargs)
        if self.last:
            frozen.keep(given)
        return given


class FrozenLayers:
    """The frozen layers of one model, and the cache of their outputs.

    Args:
        model: a transformers model, adapted or not; weights that do not train are frozen.
        cache: stores the states; models with the same frozen layers share it.

    Raises:
        AdaptkitError: no layer is frozen below the first trained one, or the layers cannot be
            skipped.
    """

    def __init__(self, model: Any, cache: ActivationCache):
        self.layers = frozen_layers(model)
        if not self.layers:
            raise AdaptkitError(
                f"no layer of this {type(model).__name__} is frozen below all that trains."
            )
        self.cache = cache
        self.texts: BatchKeys | None = (
            None  # of the current forward pass; None: the layers run as usual
        )
        self.start: Tensor | None = (
            None  # what the layers above start from, if all texts are cached
        )
        self._tuple: tuple | None = (
            None  # what a layer returns beside the states, if it returns a tuple
        )
        self._hooks: list[Any] = []
        backbone, _ = backbone_of(model)
        self._entry = backbone.get_encoder() if model.config.is_encoder_decoder else backbone
        base = getattr(model, "adaptkit_base", None)
        self._entry_layers = first_layers(model)
        self._source = (
            base.fingerprint if base else object(),
            len(self.layers),
            next(self.layers[0].parameters()).dtype,
        )

    def place(self) -> FrozenLayers:
        """Run the layers once per text from now on."""
        if self.cache.source != self._source:
            self.cache.clear()
            self.cache.source = self._source
        self._hooks = [
            self._entry.register_forward_pre_hook(self._enter, with_kwargs=True),
            self._entry.register_forward_hook(self._leave, always_call=True),
        ]
        for layer in self.layers:
            SkippedLayer(self, layer, last=layer is self.layers[-1]).place(layer)
        return self

    def remove(self) -> None:
        """Restore the model."""
        for hook in self._hooks:
            hook.remove()
        layer: Any
        for layer in self.layers:
            layer.forward.restore(layer)

    def __enter__(self) -> FrozenLayers:
        return self.place()

    def __exit__(self, *_: Any) -> None:
        self.remove()

    def _enter(self, module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
        self.texts, self.start = BatchKeys.read(args, kwargs), None
        if self.texts is not None:
            self.start = self.texts.find(self.cache)

    def _leave(self, *_: Any) -> None:
        self.texts = self.start = None

    def keep(self, given: Any) -> None:
        """Store the last layer's output, one row per text."""
        self._tuple = given[1:] if isinstance(given, tuple) else None
        if any(isinstance(item, Tensor) for item in self._tuple or ()):
            raise AdaptkitError(
                f"a {type(self.layers[0]).__name__} hands on more than hidden states."
            )  # T5: its position bias
        assert self.texts is not None
        self.texts.keep(self.cache, given[0] if isinstance(given, tuple) else given)

    def shaped(self, states: Tensor) -> Any:
        """States in the form that a layer returns."""
        return states if self._tuple is None else (states, *self._tuple)

    def check(self) -> None:
        """Try it on a few tokens, with what trains outside the layers moved: layers that read it,
        as DeBERTa's do, would give something else after some training.

        Raises:
            AdaptkitError: the model's outputs differ with its layers skipped.
        """
        inside = {id(parameter) for layer in self._entry_layers for parameter in layer.parameters()}
        outside = [p for p in self._entry.parameters() if p.requires_grad and id(p) not in inside]
        cache, self.cache = self.cache, ActivationCache()
        try:
            same = outputs_stay(self._entry, self, outside)
        finally:
            self.cache = cache
        if not same:
            raise AdaptkitError(
                f"{type(self._entry).__name__} gives something else when its lower layers are "
                "skipped."
            )
