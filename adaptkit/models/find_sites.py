"""All sites of a loaded model, from the table or by structure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from adaptkit.errors import AdaptkitError
from adaptkit.models.architectures import table_entry
from adaptkit.models.backbone import backbone_of, bare_model, base_modules, linear_shape
from adaptkit.models.sites import Site, Stack

if TYPE_CHECKING:
    from torch import nn


def find_sites(model: Any) -> list[Site]:
    """All sites of `model`, in the order of its layers.

    Args:
        model: a transformers model with any head, adapted or not. Paths are those of the model
            without PEFT's wrapper.

    Raises:
        AdaptkitError: the architecture is not in the table, and its structure is ambiguous.
    """
    stacks, modules, prefix = _stacks(model)
    found = []
    for stack, layers in stacks:
        for index, layer in enumerate(layers):
            found += _layer_sites(stack, modules, layer, (index, len(layers)), prefix, model.config)
    if not found:
        tried = ", ".join(stack.layers for stack, _ in stacks)
        raise AdaptkitError(
            f"{type(model).__name__} ({model.config.model_type}) has no layers at {tried}; call "
            "adaptkit.register_architecture with the paths of this model."
        )
    return found


def first_layers(model: Any) -> list[nn.Module]:
    """The layers of the stack that reads the text, in order: the encoder's if there is one."""
    stacks, _, prefix = _stacks(model)
    return [bare_model(model).get_submodule(prefix + name) for name in stacks[0][1]]


def layer_paths(model: Any) -> list[tuple[Stack, list[str]]]:
    """Each stack with the paths of its layers below the backbone, in order."""
    return _stacks(model)[0]


def last_layer_sites(model: Any) -> tuple[nn.Module | None, list[Site]]:
    """The layer that runs last and its sites.

    None if layers are shared, or if two stacks read each other.
    """
    stacks, _, prefix = _stacks(model)
    layers = stacks[-1][1]
    if len(stacks) > 1 or len(layers) != getattr(
        model.config.get_text_config(), "num_hidden_layers", len(layers)
    ):
        return None, []
    path = prefix + layers[-1]
    sites = [site for site in find_sites(model) if site.module.startswith(f"{path}.")]
    return bare_model(model).get_submodule(path), sites


def _stacks(model: Any) -> tuple[list[tuple[Stack, list[str]]], dict[str, nn.Module], str]:
    """Each stack with its layer paths below the backbone; the base's modules; their prefix."""
    from adaptkit.models.discover import discover

    backbone, prefix = backbone_of(bare_model(model))
    modules = base_modules(backbone)
    found = []
    for stack in table_entry(model.config) or discover(modules, model.config):
        pattern = re.compile(re.escape(stack.layers).replace(r"\*", r"(\d+)"))
        found.append((stack, [name for name in modules if pattern.fullmatch(name)]))
    return found, modules, prefix


def _layer_sites(
    stack: Stack, modules, layer: str, place: tuple[int, int], prefix: str, config
) -> list[Site]:
    def path(name: str) -> str:
        return f"{prefix}{layer}.{name}"

    sites = []
    for name, target in stack.maps.items():
        target, _, part = target.partition(":")
        width_in, width_out = linear_shape(modules[f"{layer}.{target}"])
        columns = _part(part, width_out, config) if part else None
        width_out = columns[1] - columns[0] if columns else width_out
        sites.append(Site(name, path(target), *place, "map", width_in, width_out, columns))
    by_name = {site.name: site for site in sites}
    for name, target in (("attn", stack.attn), ("cross", stack.cross)):
        if target:
            queries, keys = by_name[f"{name}.q"], by_name[f"{name}.k"]
            heads = keys.width_out // _head_width(config, queries.width_out)
            width_in, width = queries.width_in, keys.width_out
            sites.append(
                Site(
                    name,
                    queries.module,
                    *place,
                    "attention",
                    width_in,
                    width,
                    entry=path(target),
                    heads=heads,
                )
            )
    if stack.ffn:
        entry, leave = map(path, stack.ffn)
        width = by_name["ffn.in"].width_in
        sites.append(Site("ffn", leave, *place, "block", width, width, entry=entry))
        if stack.norm:
            sites.append(Site("layer", path(stack.norm), *place, "norm", width, width))
        else:
            sites.append(Site("layer", leave, *place, "stream", width, width, entry=entry))
    return sites


def _part(part: str, width: int, config) -> tuple[int, int]:
    """Columns of one part of a packed projection: `q/qkv` by head counts, `gate/gate,in` halves."""
    name, _, layout = part.partition("/")
    if layout == "qkv":
        heads = config.num_attention_heads
        shares = {"q": heads, "k": _kv_heads(config), "v": _kv_heads(config)}
    else:
        shares = dict.fromkeys(layout.split(","), 1)
    unit = width // sum(shares.values())
    start = unit * sum(list(shares.values())[: list(shares).index(name)])
    return start, start + unit * shares[name]


def _kv_heads(config) -> int:
    return getattr(config, "num_key_value_heads", None) or config.num_attention_heads


def _head_width(config, query_width: int) -> int:
    return (
        getattr(config, "head_dim", None)
        or getattr(config, "d_kv", None)
        or query_width // config.num_attention_heads
    )
