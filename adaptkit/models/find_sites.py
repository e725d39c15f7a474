"""All sites of a loaded model, from the table or by structure."""

from __future__ import annotations

import dataclasses
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
        _check_paths(stack, modules, layers, model)
        for index, layer in enumerate(layers):
            found += _layer_sites(stack, modules, layer, (index, len(layers)), prefix)
    if not found:
        tried = ", ".join(stack.layers for stack, _ in stacks)
        raise AdaptkitError(
            f"{type(model).__name__} ({model.config.model_type}) has no layers at {tried}; call "
            "adaptkit.register_architecture with the paths of this model."
        )
    return found


def missing_sites(model: Any) -> str:
    """Why a model lacks sites of a kind, in a sentence for messages; empty if it lacks none."""
    kinds: dict[str, str] = {}
    for stack, _ in _stacks(model)[0]:
        for kind, why in stack.missing.items():
            kinds.setdefault(kind, f"{kind} in {stack.layers}: {why}")
    return f" {'; '.join(kinds.values())}." if kinds else ""


def first_layers(model: Any) -> list[nn.Module]:
    """The layers of the stack that reads the text, in order: the encoder's if there is one."""
    stacks, _, prefix = _stacks(model)
    return [bare_model(model).get_submodule(prefix + name) for name in stacks[0][1]]


def layer_paths(model: Any) -> list[tuple[Stack, list[str]]]:
    """Each stack with the paths of its layers below the backbone, in order."""
    return _stacks(model)[0]


def last_layer_sites(model: Any) -> tuple[nn.Module | None, list[Site]]:
    """The layer that runs last and its sites.

    None if layers are shared, if two stacks read each other, or if what the layer does behind its
    attention is not known.
    """
    stacks, _, prefix = _stacks(model)
    layers = stacks[-1][1]
    if len(stacks) > 1 or len(layers) != getattr(
        model.config.get_text_config(), "num_hidden_layers", len(layers)
    ):
        return None, []
    path = prefix + layers[-1]
    sites = [site for site in find_sites(model) if site.module.startswith(f"{path}.")]
    if not any(site.name == "ffn.out" for site in sites):
        return None, []
    return bare_model(model).get_submodule(path), sites


def _stacks(model: Any) -> tuple[list[tuple[Stack, list[str]]], dict[str, nn.Module], str]:
    """Each stack with its layer paths below the backbone; the base's modules; their prefix."""
    from adaptkit.models.structure.discover import discover

    backbone, prefix = backbone_of(bare_model(model))
    modules = base_modules(backbone)
    found = []
    for stack in table_entry(model.config) or discover(modules, model.config):
        pattern = re.compile(re.escape(stack.layers).replace(r"\*", r"(\d+)"))
        found.append((stack, [name for name in modules if pattern.fullmatch(name)]))
    return found, modules, prefix


def _check_paths(stack: Stack, modules: dict[str, Any], layers: list[str], model: Any) -> None:
    """Refuse a path that no layer of a stack has: a slip in a table entry."""
    for name, target in stack.maps.items():
        path = target.partition(":")[0]
        if layers and not any(f"{layer}.{path}" in modules for layer in layers):
            raise AdaptkitError(
                f"{type(model).__name__} ({model.config.model_type}) has no module {path} in its "
                f"layers {stack.layers}, where its entry in the table has {name}."
            )


def _layer_sites(
    stack: Stack, modules: dict[str, Any], layer: str, place: tuple[int, int], prefix: str
) -> list[Site]:
    def path(name: str) -> str:
        return f"{prefix}{layer}.{name}"

    sites = []
    for name, target in stack.maps.items():
        target, _, part = target.partition(":")
        module = modules.get(f"{layer}.{target}")
        if module is None:  # layers of one stack may differ
            continue
        width_in, width_out = linear_shape(module)
        columns = _part(part, width_out, _config(modules, layer)) if part else None
        width_out = columns[1] - columns[0] if columns else width_out
        sites.append(Site(name, path(target), *place, "map", width_in, width_out, columns))
    by_name = {site.name: site for site in sites}
    for name, target in (("attn", stack.attn), ("cross", stack.cross)):
        queries = by_name.get(f"{name}.q") or by_name.get(f"{name}.qkv")
        attention = modules.get(f"{layer}.{target}") if target else None
        if attention is None or queries is None:
            continue
        keys, values = by_name.get(f"{name}.k"), by_name.get(f"{name}.v")
        if keys and values and keys.width_out != values.width_out:
            continue
        width = keys.width_out if keys else _packed_width(queries, by_name.get(f"{name}.out"))
        head = _head_width(attention, _config(modules, layer), queries)
        site = Site(name, queries.module, *place, "attention", queries.width_in, width)
        sites.append(dataclasses.replace(site, entry=path(target), heads=width // head))
    if stack.ffn and "ffn.in" in by_name:
        entry, leave = map(path, stack.ffn)
        width = by_name["ffn.in"].width_in
        sites.append(Site("ffn", leave, *place, "block", width, width, entry=entry))
        if stack.norm:
            sites.append(Site("layer", path(stack.norm), *place, "norm", width, width))
        else:
            sites.append(Site("layer", leave, *place, "stream", width, width, entry=entry))
    return sites


def _config(modules: dict[str, Any], path: str) -> Any:
    """The configuration of the innermost model around a module: towers have their own."""
    while path and not hasattr(modules.get(path), "config"):
        path = path.rpartition(".")[0]
    return modules[path].config.get_text_config()


def _packed_width(packed: Site, out: Site | None) -> int:
    """The width of the keys in a map for q, k and v; the output map reads what q is wide."""
    queries = out.width_in if out else packed.width_out // 3
    return (packed.width_out - queries) // 2


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


def _head_width(attention: Any, config, queries: Site) -> int:
    """The width of one head, as the attention itself or its configuration has it."""
    config = getattr(attention, "config", config)
    for holder, name in ((attention, "head_dim"), (config, "head_dim"), (config, "d_kv")):
        if width := getattr(holder, name, None):
            return width
    return queries.width_in // config.num_attention_heads
