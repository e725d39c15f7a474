"""A randomly initialized network of the same architecture with another number of layers."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch
from transformers import (
    set_seed,
)

from adaptkit.errors import AdaptkitError, unknown
from adaptkit.models.find_sites import layer_paths
from adaptkit.models.layer_map import layer_map

if TYPE_CHECKING:
    from collections.abc import Sequence

NOT_SETTINGS = {  # of a network that is to be like another
    "model_type": "it is the source's",
    "vocab_size": "the source's tokenizer goes with it",
    "num_hidden_layers": "--num_hidden_layers says it",
}

ENCODER = (
    "num_hidden_layers",
    "num_layers",
    "encoder_layers",
    "num_encoder_layers",
)  # depth of the first or only stack

DECODER = ("num_decoder_layers", "decoder_layers")  # depth of a decoder behind an encoder


def fresh(
    base: Any,
    num_layers: int,
    layers: str | Sequence[int] = "every",
    seed: int = 0,
    head: str | None = None,
    settings: dict[str, Any] | None = None,
    decoder_layers: int | None = None,
) -> Any:
    """A randomly initialized copy of a base's network with another depth.

    Each layer has the kind of the layer whose weights it will take.

    Args:
        num_layers: per stack, except for a decoder of an encoder-decoder with its own depth.
        decoder_layers: depth of such a decoder.
        head: the Auto class of transformers that adds a head; None: the bare network.
        settings: other settings of its configuration.

    Raises:
        AdaptkitError: the configuration has no number of layers or not these settings, or the
            resulting network does not run.
    """
    config = copy.deepcopy(base.config)
    if not hasattr(config, "num_hidden_layers") or num_layers < 1:
        raise AdaptkitError(f"a {config.model_type} cannot be made with {num_layers} layers.")
    taken = layer_map(layers, config.num_hidden_layers, num_layers)
    if getattr(config, "layer_types", None):
        config.layer_types = [config.layer_types[index] for index in taken]
    try:
        set_depths(config, num_layers, decoder_layers or min(num_layers, depths_of(config)[-1]))
        set_seed(seed)
        model = _with(config, head, settings) if settings else _network(config, head)
    except (
        ValueError,
        NotImplementedError,
    ) as problem:  # other settings of its configuration depend on the depth
        raise AdaptkitError(
            f"a {config.model_type} cannot be made with {num_layers} layers: {problem}"
        ) from problem
    if hasattr(base, "generation_config"):
        model.generation_config = copy.deepcopy(base.generation_config)
    if config.is_encoder_decoder and [len(paths) for _, paths in layer_paths(model)] != depths_of(
        config
    ):
        raise AdaptkitError(
            f"a {config.model_type} cannot be made with {num_layers} layers: its depth stands "
            "elsewhere."
        )
    return model


def depths_of(config: Any) -> list[int]:
    """The depths of a model's stacks: one number, encoder and decoder, or none if unknown."""
    stacks = ENCODER, DECODER if config.is_encoder_decoder else ()
    names = [[name for name in stack if hasattr(config, name)] for stack in stacks]
    return [getattr(config, found[0]) for found in names if found]


def set_depths(config: Any, encoder: int, decoder: int) -> None:
    """Set the numbers of layers in a configuration."""
    for names, count in (
        (ENCODER, encoder),
        (DECODER if config.is_encoder_decoder else (), decoder),
    ):
        for name in names:
            if hasattr(config, name):
                setattr(config, name, count)


def _network(config: Any, head: str | None) -> Any:
    import transformers

    return getattr(transformers, head or "AutoModel").from_config(config, dtype=torch.float32)


def _with(config: Any, head: str | None, settings: dict[str, Any]) -> Any:
    """A network with other settings that has read two tokens and whose config can be reloaded."""
    refused = NOT_SETTINGS | {
        config.attribute_map.get(name, name): why for name, why in NOT_SETTINGS.items()
    }
    known = (config.to_dict().keys() | config.attribute_map.keys()) - refused.keys()
    for name in settings:
        if name in refused:
            raise AdaptkitError(
                f"{name} is no setting of a network like its source: {refused[name]}."
            )
        if name not in known:
            raise unknown(f"setting of a {config.model_type}", name, known)
    try:  # transformers raises many types of error for incompatible values
        for name, value in settings.items():
            setattr(config, name, value)
        model = _network(config, head)
        type(config).from_dict(config.to_dict())
        ids = torch.ones(1, 2, dtype=torch.long)
        with torch.no_grad():
            model(
                input_ids=ids, **({"decoder_input_ids": ids} if config.is_encoder_decoder else {})
            )
    except Exception as problem:
        given = ", ".join(f"{name}={value}" for name, value in settings.items())
        raise AdaptkitError(
            f"no {config.model_type} that works can be made with {given}: {problem}"
        ) from problem
    return model
