"""AdapterHub's prefixes as `Prefix`.

A flat prefix is one vector for each place (encoder, decoder, cross-attention):
`(length, layers, 2, heads * width)`, of which the 2 are keys and values. A prefix that a small
network computes is computed once: what it answers is the same.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from adaptkit.adapters.adapterhub.folder import SavedAdapter
from adaptkit.adapters.adapterhub.pieces import Piece
from adaptkit.adapters.adapterhub.places import Places
from adaptkit.methods.bottleneck import activation
from adaptkit.methods.prefix import Prefix
from adaptkit.models.sites import Site

# The library counts a prefix as positions there, which moves every token away from itself.
_RELATIVE_POSITIONS = ("t5", "mt5")


def prefix_pieces(saved: SavedAdapter, config: dict[str, Any], places: Places) -> list[Piece]:
    """Take the tensors of a prefix configuration from `saved`, and convert them.

    Raises:
        AdaptkitError: it is gated, or changes the positions of tokens, or a tensor is missing or
            misshapen.
    """
    if config.get("use_gating") or any(kind == "prefix_gates" for kind, _ in saved.groups):
        raise saved.refused("its prefix is gated by the mean over a sentence (use_gating).")
    if saved.content.get("model_type") in _RELATIVE_POSITIONS:
        raise saved.refused(
            "in T5 that library counts a prefix as positions, which moves all tokens; adaptkit's "
            "prefixes do not move them."
        )
    if not any(site.name == "attn" for site in places.sites):
        raise saved.refused("the attention of this base takes no prefix.")
    pieces = []
    for place, group in _by_place(saved).items():
        sites = _sites(place, places, config.get("leave_out") or [])
        length, values = int(config["prefix_length"]), _flat(saved, config, group)
        width = sites[0].width_out if sites else 0
        wanted = length * len(sites) * 2 * width
        if values.numel() != wanted:
            raise saved.refused(
                f"{place} holds {values.numel()} numbers; {length} positions of {len(sites)} "
                f"layers with keys and values of width {width} are {wanted}."
            )
        columns = values.view(length, len(sites), 2, width).unbind(2)
        for layer, site in enumerate(sites):
            keys, vals = (half[:, layer].contiguous() for half in columns)
            pieces.append(Piece(site, Prefix(length=length), {"keys": keys, "values": vals}))
    _check_whole(saved, config, pieces, places)
    return pieces


def _by_place(saved: SavedAdapter) -> dict[str, dict[str, Tensor]]:
    """Place -> its tensors. The library's state dict repeats them for every layer."""
    found: dict[str, dict[str, Tensor]] = {}
    for key in [key for key in saved.groups if key[0] == "prefix_tunings"]:
        for name, tensor in saved.groups.pop(key).items():
            place, _, rest = name.partition(".")
            known = found.setdefault(place, {}).setdefault(rest, tensor)
            if not torch.equal(known, tensor):
                raise saved.refused(f"its weights hold two different prefixes called {place}.")
    return found


def _sites(place: str, places: Places, leave_out: list[int]) -> list[Site]:
    """The attention sites of `encoder_prefix`, `cross_prefix` or `self_prefix`, in order."""
    name = "cross" if place.startswith("cross") else "attn"
    stack = places.stacks[0] if place.startswith("encoder") else places.stacks[-1]
    kept = places.kept(leave_out)
    found = [places.site(layer, name) for layer in stack if layer in kept]
    return [site for site in found if site is not None]


def _flat(saved: SavedAdapter, config: dict[str, Any], group: dict[str, Tensor]) -> Tensor:
    """The values of a prefix, computed by its network if it has one."""
    if group.keys() == {"control_trans"}:
        return group["control_trans"]
    names = [f"control_trans.{i}.{kind}" for i in (0, 2) for kind in ("weight", "bias")]
    if group.keys() != {"wte.weight", *names}:
        raise saved.refused(f"its prefix has the weights {', '.join(sorted(group))}.")
    inner, inner_bias, outer, outer_bias = (group[name] for name in names)
    activate = activation(str(config.get("non_linearity", "tanh")).lower())
    return activate(group["wte.weight"] @ inner.mT + inner_bias) @ outer.mT + outer_bias


def _check_whole(
    saved: SavedAdapter, config: dict[str, Any], pieces: list[Piece], places: Places
) -> None:
    """Refuse weights that lack a place which the configuration names."""
    found = {piece.site.module for piece in pieces if piece.site.name == "attn"}
    crossed = any(piece.site.name == "cross" for piece in pieces)
    kept = places.kept(config.get("leave_out") or [])
    stacks = places.stacks[0 if config.get("encoder_prefix", True) else -1 :]
    for layer in [path for stack in stacks for path in stack if path in kept]:
        site = places.site(layer, "attn")
        if site is not None and site.module not in found:
            raise saved.refused(f"its weights lack the prefix of {layer}.")
    crosses = any(site.name == "cross" for site in places.sites)
    if config.get("cross_prefix", True) and crosses and not crossed:
        raise saved.refused("its weights lack the prefix of the cross-attention.")
