"""AdapterHub's LoRA and (IA)3, which are one class there, as `LoRA` and `IA3`.

    add      y + alpha / r  B A x      A: (r, in), B: (out, r)
    scale    y * alpha l               l: (out,), stored as a B of rank one

A packed projection of queries, keys and values (GPT-2) has the A and B of its chosen parts stacked,
in this order.
"""

from __future__ import annotations

import re
from typing import Any

from torch import Tensor

from adaptkit.adapters.adapterhub.folder import SavedAdapter
from adaptkit.adapters.adapterhub.pieces import Piece
from adaptkit.adapters.adapterhub.places import Places
from adaptkit.methods.ia3 import IA3
from adaptkit.methods.lora import LoRA
from adaptkit.models.sites import Site

_NOT_OURS = {
    "use_dora": "DoRA",
    "use_gating": "LoRA gated by the mean over a sentence (use_gating)",
}


def map_pieces(saved: SavedAdapter, config: dict[str, Any], places: Places) -> list[Piece]:
    """Take the tensors of a LoRA or (IA)3 configuration from `saved`, and convert them.

    Raises:
        AdaptkitError: it is a relative of LoRA's, or a tensor is missing or misshapen.
    """
    for setting, what in _NOT_OURS.items():
        if config.get(setting):
            raise saved.refused(f"it is {what}, which no method of adaptkit's computes.")
    if config.get("vera_d") is not None or config.get("vera_b") is not None:
        raise saved.refused("it is VeRA, which no method of adaptkit's computes.")
    mode = config.get("composition_mode", "add")
    if mode not in ("add", "scale"):
        raise saved.refused(f"composition_mode is {mode!r}; adaptkit has 'add' and 'scale'.")
    pieces, found = [], set()
    for kind, owner in [key for key in saved.groups if key[0] == "loras"]:
        layer, sites = places.maps(saved, owner)
        if not sites:
            raise saved.refused(f"this base has no linear map called {owner!r}.")
        group = saved.groups.pop((kind, owner))
        if group.keys() != ({"lora_A", "lora_B"} if mode == "add" else {"lora_B"}):
            raise saved.refused(f"{owner} has the weights {', '.join(sorted(group))}.")
        at = _chosen(saved, config, sites, group["lora_B"], owner)
        if mode == "scale" and at != sites and config.get("alpha", 1) != 1:
            raise saved.refused(f"its alpha scales the parts of {owner} too that it does not name.")
        pieces += _added(saved, config, at, group) if mode == "add" else _scaled(config, at, group)
        found |= {(layer, site.name) for site in at}
    _check_whole(saved, config, found, places)
    return pieces


def _chosen(
    saved: SavedAdapter, config: dict[str, Any], sites: list[Site], b: Tensor, owner: str
) -> list[Site]:
    """The sites of one module that were adapted: of a packed one maybe only some parts."""
    for at in (sites, [one for one in sites if one.name[-1] in config.get("attn_matrices", "")]):
        if len(b) == sum(site.width_out for site in at):
            return at
    raise saved.refused(
        f"lora_B of {owner} has {len(b)} rows; the map has {sum(one.width_out for one in sites)}."
    )


def _added(
    saved: SavedAdapter, config: dict[str, Any], at: list[Site], group: dict[str, Tensor]
) -> list[Piece]:
    rank, a = int(config["r"]), group["lora_A"]
    stacked = len(a) == rank * len(at)
    if not stacked and len(a) != rank:
        raise saved.refused(f"lora_A of {at[0].module} has {len(a)} rows, r is {rank}.")
    method = LoRA(r=rank, alpha=_alpha(saved, config), dropout=float(config.get("dropout") or 0))
    parts = group["lora_B"].split([site.width_out for site in at])
    return [
        Piece(site, method, {"A": a[i * rank :][:rank] if stacked else a, "B": part})
        for i, (site, part) in enumerate(zip(at, parts, strict=True))
    ]


def _scaled(config: dict[str, Any], at: list[Site], group: dict[str, Tensor]) -> list[Piece]:
    factors = group["lora_B"].flatten() * float(config.get("alpha", 1))
    parts = factors.split([site.width_out for site in at])
    return [Piece(site, IA3(), {"scale": part}) for site, part in zip(at, parts, strict=True)]


def _alpha(saved: SavedAdapter, config: dict[str, Any]) -> float:
    """The numerator of the scale. Before 1.1.0 the library did not scale at all."""
    version = re.match(r"adapters\.(\d+)\.(\d+)", str(saved.content.get("version", "")))
    unscaled = version is not None and (int(version[1]), int(version[2])) < (1, 1)
    return float(config["r"] if unscaled else config["alpha"])


def _check_whole(
    saved: SavedAdapter, config: dict[str, Any], found: set[tuple[str, str]], places: Places
) -> None:
    """Refuse weights that lack a map which the configuration names, in any layer."""
    names = {name for _, name in found}
    wanted = {f"{attn}.{m}" for m in config.get("attn_matrices", ()) for attn in ("attn", "cross")}
    wanted = {name for name in wanted if any(site.name == name for site in places.sites)}
    wanted = names | (wanted if config.get("selfattn_lora", True) else set())
    for layer in places.kept(config.get("leave_out") or []):
        for name in sorted(wanted):
            if places.site(layer, name) is not None and (layer, name) not in found:
                raise saved.refused(f"its weights lack {name} of {layer}.")
    feed_forward = sum(bool(config.get(f"{name}_lora")) for name in ("intermediate", "output"))
    if len([name for name in names if name.startswith("ffn.")]) < feed_forward:
        raise saved.refused("its weights lack the maps of the feed-forward block.")
