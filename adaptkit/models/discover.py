"""Find the sites of an architecture that is not in the table, if its structure is unambiguous.

A stack is a list of equal layers. In a layer, the attention is the module that directly holds maps
named like q, k and v (in any of the usual spellings) and one more map back to the width, its own or
in a sibling. The feed-forward block maps the width to another one and back. Norms are not guessed,
so a discovered model has no `ffn` and `layer` sites: those need a table entry.
"""

from __future__ import annotations

import re
from collections import Counter

from torch import nn

from adaptkit.errors import AdaptkitError
from adaptkit.models.backbone import base_modules, linear_shape
from adaptkit.models.sites import Stack

SPELLINGS = {
    "q": ("q", "query", "q_proj", "q_lin", "wq", "query_proj", "to_q", "linear_q"),
    "k": ("k", "key", "k_proj", "k_lin", "wk", "key_proj", "to_k", "linear_k"),
    "v": ("v", "value", "v_proj", "v_lin", "wv", "value_proj", "to_v", "linear_v"),
}

GATES = ("gate", "gate_proj", "w1", "wi_0", "linear_g")


def discover(modules: dict[str, nn.Module], config) -> tuple[Stack, ...]:
    """The stacks of a backbone, by structure.

    Args:
        modules: the backbone's modules by path, from `base_modules`.

    Raises:
        AdaptkitError: no interpretation fits, or several do. Lists the maps of a layer and shows
            the table entry to write.
    """
    layers = _layer_lists(modules)
    stacks = [stack for name in layers if (stack := _read_layer(name, modules[f"{name}.0"]))]
    if not stacks or len(stacks) < len(layers):
        raise _cannot_tell(modules, layers, config)
    return tuple(stacks)


def _layer_lists(modules: dict[str, nn.Module]) -> list[str]:
    """Paths of the outermost module lists with items of one class and several linear maps."""
    found: list[str] = []
    for name, module in modules.items():
        inside = any(name.startswith(outer + ".") for outer in found)
        if not isinstance(module, nn.ModuleList) or not len(module) or inside:
            continue
        if len(Counter(type(item) for item in module)) == 1 and len(_linear_maps(module[0])) >= 4:
            found.append(name)
    return found


def _linear_maps(layer: nn.Module) -> dict[str, tuple[int, int]]:
    return {
        name: linear_shape(module)
        for name, module in base_modules(layer).items()
        if not list(module.children()) and (hasattr(module, "in_features") or hasattr(module, "nx"))
    }


def _read_layer(path: str, layer: nn.Module) -> Stack | None:
    maps = _linear_maps(layer)
    found: dict[str, str] = {}
    for letter, names in SPELLINGS.items():
        matches = [name for name in maps if name.rpartition(".")[2] in names]
        if len(matches) != 1:
            return None
        found[f"attn.{letter}"] = matches[0]
    width, query_width = maps[found["attn.q"]]
    rest = {name: shape for name, shape in maps.items() if name not in found.values()}
    attention = found["attn.q"].rpartition(".")[0]
    above = attention.rpartition(".")[0]
    outs = [
        name
        for name, shape in rest.items()
        if shape == (query_width, width) and name.startswith(above + "." * bool(above))
    ]
    outs = (
        [name for name in outs if re.search(r"att|out|^o$|o_proj|dense", name[len(above) :])]
        if len(outs) > 1
        else outs
    )
    if len(outs) != 1:
        return None
    found["attn.out"] = outs[0]
    del rest[outs[0]]
    gates = [name for name in rest if name.rpartition(".")[2] in GATES]
    into = [
        name
        for name, shape in rest.items()
        if shape[0] == width and shape[1] != width and name not in gates
    ]
    back = [name for name, shape in rest.items() if shape[1] == width and shape[0] != width]
    if len(into) != 1 or len(back) != 1 or len(gates) > 1 or len(rest) != 2 + len(gates):
        return None
    found |= {"ffn.in": into[0], "ffn.out": back[0]} | ({"ffn.gate": gates[0]} if gates else {})
    module = base_modules(layer)[attention]
    return Stack(f"{path}.*", found, attention if _uses_interface(module) else "")


def _uses_interface(attention: nn.Module) -> bool:
    """True if the module looks its attention function up in transformers' interface."""
    code = getattr(type(attention).forward, "__code__", None)
    return (
        hasattr(attention, "config")
        and code is not None
        and "ALL_ATTENTION_FUNCTIONS" in code.co_names
    )


def _cannot_tell(modules, layers: list[str], config) -> AdaptkitError:
    lines = [
        f"architecture {config.model_type!r} is not in the table and its structure is not clear."
    ]
    for name in layers:
        lines.append(f"Linear maps in {name}.0 (path: in -> out):")
        lines += [
            f"  {path}: {i} -> {o}" for path, (i, o) in _linear_maps(modules[f"{name}.0"]).items()
        ]
    if not layers:
        lines.append("No list of equal layers with linear maps was found.")
    lines.append("Write its entry (paths below one layer) and register it:")
    lines.append("  from adaptkit.sites import Stack, register_architecture")
    lines.append(
        f"  register_architecture({config.model_type!r}, "
        f"Stack({(layers or ['encoder.layers'])[0] + '.*'!r},"
    )
    lines.append(
        '      {"attn.q": "...", "attn.k": "...", "attn.v": "...", "attn.out": "...", "ffn.in": '
        '"...", "ffn.out": "..."}))'
    )
    return AdaptkitError("\n".join(lines))
