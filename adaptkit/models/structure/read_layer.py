"""Read one layer of an unknown architecture: where its attention and its feed-forward block are.

The attention is the module that directly holds maps named like q, k and v, in any of the usual
spellings, or one map for all three. Its output map is its own or a sibling's. What remains is the
feed-forward block if it is one map out of the width, one back, and perhaps a gate. A layer with
experts has none: what a token passes through there is no map of its own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from torch import nn
from torch.nn.modules.conv import _ConvNd

from adaptkit.models.backbone import base_modules, linear_shape

SPELLINGS = {
    "q": ("q", "query", "q_proj", "q_lin", "wq", "query_proj", "to_q", "linear_q", "project_q"),
    "k": ("k", "key", "k_proj", "k_lin", "wk", "key_proj", "to_k", "linear_k", "project_k"),
    "v": ("v", "value", "v_proj", "v_lin", "wv", "value_proj", "to_v", "linear_v", "project_v"),
}

PACKED = ("qkv", "qkv_proj", "wqkv", "query_key_value", "c_attn", "att_proj", "in_proj")

GATES = ("gate", "gate_proj", "w1", "wi_0", "linear_g")

_OUT = re.compile(r"att|out|^\.?o$|o_proj|wo$|proj|dense")

_CROSS = re.compile(r"cross|encoder_attn|encdec|enc_dec", re.IGNORECASE)

Maps = dict[str, tuple[int, int]]


@dataclass
class Layer:
    """What one layer holds: linear site -> path below the layer, and the attention modules.

    `missing`: why it has no site of a kind, `attn` or `ffn`.
    """

    maps: dict[str, str] = field(default_factory=dict)
    attn: str = ""
    cross: str = ""
    missing: dict[str, str] = field(default_factory=dict)


def linear_maps(layer: nn.Module) -> Maps:
    """Path below the layer -> (width in, width out) of each linear map of the base."""
    return {
        name: linear_shape(module)
        for name, module in base_modules(layer).items()
        if not list(module.children()) and _is_linear(module)
    }


def _is_linear(module: nn.Module) -> bool:
    """True for torch's maps, Conv1D and those of quantization, not for an architecture's own kind.

    What I-BERT calls a linear map takes and gives a scale beside the tensor.
    """
    if type(module).__module__.startswith("transformers.models."):
        return isinstance(module, nn.Linear)
    torchs = hasattr(module, "in_features") and hasattr(module, "out_features")
    return torchs or hasattr(module, "nx")


def read_layer(layer: nn.Module) -> Layer | None:
    """The sites of a layer, or None if it has no attention, or several of one kind."""
    maps, modules = linear_maps(layer), base_modules(layer)
    attentions = _attentions(maps)
    cross = [parent for parent in attentions if _CROSS.search(parent)]
    own = [parent for parent in attentions if parent not in cross]
    if len(own) != 1 or len(cross) > 1:
        return None
    found = Layer()
    rest = dict(maps)
    for kind, parents in (("attn", own), ("cross", cross)):
        for parent in parents:
            rest = _add_attention(found, kind, parent, attentions[parent], rest)
            if _reads_weights(modules[parent]):
                found.maps = {n: path for n, path in found.maps.items() if not n.startswith(kind)}
                found.missing[kind] = "its maps are never called: torch's attention reads weights"
            elif _uses_interface(modules[parent]):
                setattr(found, kind, parent)
    experts = _experts(modules)
    if experts:
        found.missing["ffn"] = experts
    else:
        _add_feed_forward(found, maps[next(iter(attentions[own[0]].values()))][0], rest)
    return found


def has_attention(layer: nn.Module) -> bool:
    """True if a layer's maps are named like those of an attention, be it clear or not."""
    return any(re.search("att|qkv", path, re.IGNORECASE) for path in linear_maps(layer))


def _attentions(maps: Maps) -> dict[str, dict[str, str]]:
    """Attention module -> its maps: q, k and v, or one for all three (qkv)."""
    found: dict[str, dict[str, list[str]]] = {}
    for path in maps:
        parent, name = _split(path)
        for letter, names in SPELLINGS.items():
            if name.lower() in names:
                found.setdefault(parent, {}).setdefault(letter, []).append(path)
        wide = maps[path][1] > maps[path][0]
        if name.lower() in PACKED and wide and re.search("att|qkv", path, re.IGNORECASE):
            found.setdefault(parent, {}).setdefault("qkv", []).append(path)
    return {
        parent: {letter: paths[0] for letter, paths in letters.items()}
        for parent, letters in found.items()
        if letters.keys() in ({"q", "k", "v"}, {"qkv"})
        and all(len(paths) == 1 for paths in letters.values())
    }


def _split(path: str) -> tuple[str, str]:
    """The module that holds a map and the map's name; some are in a module of their own."""
    parent, _, name = path.removesuffix(".linear").rpartition(".")
    return parent, name


def _add_attention(
    found: Layer, kind: str, parent: str, letters: dict[str, str], rest: Maps
) -> Maps:
    """Note the maps of one attention; returns the maps that belong to no attention yet."""
    found.maps |= {f"{kind}.{letter}": path for letter, path in letters.items()}
    if "qkv" in letters:
        found.missing["attn"] = (
            f"q, k and v are one map, {letters['qkv']}, and its structure does not tell which "
            "columns are whose; it is the site attn.qkv"
        )
    width = rest[next(iter(letters.values()))][0]
    queries = rest[letters["q"]][1] if "q" in letters else width
    others = {path: shape for path, shape in rest.items() if path not in letters.values()}
    out = _output_map(others, parent, queries, width)
    if out:
        found.maps[f"{kind}.out"] = out
    above = parent.rpartition(".")[0]
    around = f"{above if 'att' in above.lower() else parent}."
    return {
        path: shape
        for path, shape in others.items()
        if path != out and not (parent and path.startswith((f"{parent}.", around)))
    }


def _output_map(maps: Maps, parent: str, queries: int, width: int) -> str | None:
    """The map from an attention's values to the width: its own, or one beside it."""
    above = parent.rpartition(".")[0]
    for root, fits in ((parent, lambda i: True), (above, lambda i: i == queries)):
        inside = [
            path
            for path, shape in maps.items()
            if shape[1] == width and fits(shape[0]) and path.startswith(root + "." * bool(root))
        ]
        named = [path for path in inside if _OUT.search(path[len(root) :])]
        plain = [path for path in named if not re.search("gate|rel|pos", path[len(root) :])]
        for some in (plain, [path for path in plain if re.search("out|o_proj", path)]):
            if len(some) == 1:
                return some[0]
    return None


def _experts(modules: dict[str, nn.Module]) -> str | None:
    """How a layer says that its feed-forward block is a mixture of experts, if it is one."""
    for path, module in modules.items():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.ndim == 3 and not isinstance(module, _ConvNd):
                where = f"{path}.{name}".lstrip(".")
                return f"the weights of all experts are one tensor, {where}, and no linear maps"
    experts = [path for path in modules if "expert" in path.lower()]
    return f"it is a mixture of experts, {experts[0]}" if experts else None


def _add_feed_forward(found: Layer, width: int, rest: Maps) -> None:
    gates = [name for name in rest if _split(name)[1] in GATES]
    into = [
        name
        for name, shape in rest.items()
        if shape[0] == width and shape[1] != width and name not in gates
    ]
    back = [name for name, shape in rest.items() if shape[1] == width and shape[0] != width]
    if len(into) != 1 or len(back) != 1 or len(gates) > 1 or len(rest) != 2 + len(gates):
        found.missing["ffn"] = (
            f"it is not one map out of the width and one back: {', '.join(list(rest)[:6])}"
            if rest
            else "the layer has no linear maps beside its attention"
        )
        return
    inner, read = rest[into[0]][1], rest[back[0]][0]
    found.maps["ffn.out"] = back[0]
    if inner == read:
        found.maps |= {"ffn.in": into[0]} | ({"ffn.gate": gates[0]} if gates else {})
        return
    found.maps["ffn.gate_in"] = into[0]
    found.missing["ffn.in"] = (
        f"gate and input are one map, {into[0]}, and its structure does not tell which columns "
        "are whose; it is the site ffn.gate_in"
    )


def _reads_weights(attention: nn.Module) -> bool:
    """True if the module hands the weights of its maps to torch's attention (WavLM).

    A layer around such a map would never run.
    """
    functions = [value for cls in type(attention).__mro__[:-2] for value in vars(cls).values()]
    codes = [code for function in functions if (code := getattr(function, "__code__", None))]
    return any("multi_head_attention_forward" in code.co_names for code in codes)


def _uses_interface(attention: nn.Module) -> bool:
    """True if the module looks its attention function up in transformers' interface.

    One that cuts packed sequences apart (`cu_seqlens`) calls it several times a pass.
    """
    code = getattr(type(attention).forward, "__code__", None)
    return (
        hasattr(attention, "config")
        and code is not None
        and "ALL_ATTENTION_FUNCTIONS" in code.co_names
        and "cu_seqlens" not in code.co_varnames
    )
