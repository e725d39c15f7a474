"""Find the sites of an architecture that is not in the table, if its structure is unambiguous.

A stack is a list of layers that have an attention (`read_layer`). Layers of one list may differ:
some mix tokens in another way than by attention, or have experts in place of a feed-forward block.
A site is then where a layer has it. A part that is a model of its own and in the table (the Llama
in a LLaVA) is taken from there. Norms are not guessed, so what is found by structure has no `ffn`
and `layer` sites: those need a table entry.

Of a model that writes what it sees or hears, the language model is adapted. Of two towers that are
compared (CLIP), both are.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable

from torch import nn

from adaptkit.errors import AdaptkitError
from adaptkit.models.architectures import table_entry
from adaptkit.models.sites import Stack
from adaptkit.models.structure.read_layer import Layer, has_attention, linear_maps, read_layer

Modules = dict[str, nn.Module]


def discover(modules: Modules, config) -> tuple[Stack, ...]:
    """The stacks of a backbone, by structure.

    Args:
        modules: the backbone's modules by path, from `base_modules`.

    Raises:
        AdaptkitError: no interpretation fits, or several do. Lists the maps of a layer and shows
            the table entry to write.
    """
    root = _language_model(modules, config)
    stacks: dict[str, Stack] = {}
    unclear: list[str] = []
    done: list[str] = []
    for path, module in modules.items():
        if not _inside(path, root) or any(_inside(path, outer) for outer in done):
            continue
        if known := _known_stacks(path, module, modules):
            stacks |= {stack.layers: stack for stack in known}
            done.append(path)
        elif isinstance(module, nn.ModuleList) and len(module):
            layers = [read_layer(item) for item in module]
            pattern = re.sub(r"(?<=\.)\d+(?=\.|$)", "*", f".{path}.*")[1:]
            if stack := _stack(pattern, [layer for layer in layers if layer], stacks.get(pattern)):
                stacks[pattern] = stack
                done.append(path)
            elif any(map(has_attention, module)):
                unclear.append(path)
    unclear = [path for path in unclear if not any(_inside(inner, path) for inner in done)]
    if unclear or not stacks:
        raise _cannot_tell(modules, unclear, config)
    return tuple(stacks.values())


def _inside(path: str, outer: str) -> bool:
    return not outer or path == outer or path.startswith(f"{outer}.")


def _language_model(modules: Modules, config) -> str:
    """The path of the language model in a model that writes what it sees or hears, else empty."""
    from transformers.models.auto import modeling_auto as known

    writes = (
        *known.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
        *known.MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES,
    )
    names = [path for path in modules if path.rpartition(".")[2] == "language_model"]
    if config.model_type in writes and not names:
        names = [path for path in ("text_model", "text_decoder") if path in modules]
    return min(names, key=len) if names else ""


def _known_stacks(path: str, module: nn.Module, modules: Modules) -> list[Stack]:
    """The stacks of a part that is a model of its own, as the table gives them."""
    from transformers import PreTrainedModel

    if not path or not isinstance(module, PreTrainedModel):
        return []
    moved = [
        dataclasses.replace(stack, layers=f"{path}.{stack.layers}")
        for stack in table_entry(module.config) or ()
    ]
    return [stack for stack in moved if stack.layers.replace("*", "0") in modules]


def _stack(pattern: str, layers: Iterable[Layer], more: Stack | None) -> Stack | None:
    """One stack of layers as they were read, each of which has some of its sites.

    None if no layer was read, or if two have one site at different places.
    """
    stack = more or Stack(pattern)
    for layer in layers:
        places = (*layer.maps.items(), *(("attn", layer.attn),), *(("cross", layer.cross),))
        known = {**stack.maps, "attn": stack.attn, "cross": stack.cross}
        if any(place and known.get(site) not in (None, "", place) for site, place in places):
            return None
        stack = dataclasses.replace(
            stack,
            maps=stack.maps | layer.maps,
            attn=stack.attn or layer.attn,
            cross=stack.cross or layer.cross,
            missing={**layer.missing, **stack.missing},
        )
    return stack if stack.maps else None


def _cannot_tell(modules: Modules, layers: list[str], config) -> AdaptkitError:
    lines = [
        f"architecture {config.model_type!r} is not in the table and its structure is not clear."
    ]
    for name in layers[:3]:
        maps = linear_maps(modules[f"{name}.0"])
        lines.append(f"Linear maps in {name}.0 (path: in -> out):")
        lines += [f"  {path}: {i} -> {o}" for path, (i, o) in list(maps.items())[:16]]
        lines += [f"  and {len(maps) - 16} more"] if len(maps) > 16 else []
    if not layers:
        lines.append("No list of layers with an attention made of linear maps was found.")
    lines.append("Write its entry (paths below one layer) and register it:")
    lines.append("  from adaptkit import Stack, register_architecture")
    lines.append(
        f"  register_architecture({config.model_type!r}, "
        f"Stack({(layers or ['encoder.layers'])[0] + '.*'!r},"
    )
    lines.append(
        '      {"attn.q": "...", "attn.k": "...", "attn.v": "...", "attn.out": "...", "ffn.in": '
        '"...", "ffn.out": "..."}))'
    )
    return AdaptkitError("\n".join(lines))
