"""Where AdapterHub's tensors are in a base: from the module that owns them to adaptkit's sites."""

from __future__ import annotations

from typing import Any

from adaptkit.adapters.adapterhub.folder import SavedAdapter
from adaptkit.models.backbone import backbone_of
from adaptkit.models.find_sites import find_sites, layer_paths
from adaptkit.models.sites import Site

_OUTPUTS = ("attn.out", "cross.out", "ffn.out")
_HOLDERS = {  # modules that the library adds to a layer -> the site behind which they stand
    "attention_adapters": "attn.out",
    "cross_attention_adapters": "cross.out",
    "output_adapters": "ffn.out",
}


class Places:
    """The layers and sites of one base, found by the names of AdapterHub's tensors.

    `layers`: the path of every layer below the backbone, in the order in which that library counts
    them: those of the encoder, then those of the decoder.
    """

    def __init__(self, base: Any):
        prefix = backbone_of(base)[1]
        self.sites = find_sites(base)
        self.stacks = [paths for _, paths in layer_paths(base)]
        self.layers = [path for paths in self.stacks for path in paths]
        self._below = [(site.module.removeprefix(prefix), site) for site in self.sites]

    def kept(self, leave_out: list[int]) -> list[str]:
        """The layers that a configuration does not leave out."""
        return [path for index, path in enumerate(self.layers) if index not in leave_out]

    def site(self, layer: str, name: str) -> Site | None:
        """The site of this name in a layer."""
        return next(
            (
                site
                for path, site in self._below
                if site.name == name and path.startswith(layer + ".")
            ),
            None,
        )

    def maps(self, saved: SavedAdapter, owner: str) -> tuple[str, list[Site]]:
        """The layer of a linear map, and its sites: several if it packs them."""
        layer, rest = self._split(saved, owner)
        return layer, [
            site for path, site in self._below if site.kind == "map" and path == f"{layer}.{rest}"
        ]

    def bottleneck(self, saved: SavedAdapter, owner: str) -> tuple[str, str]:
        """The layer of a bottleneck, and the site behind which it stands, "" for none of ours."""
        layer, rest = self._split(saved, owner)
        holder = rest.rpartition(".")[2]
        if holder in _HOLDERS:
            return layer, _HOLDERS[holder]
        inside = {
            site.name
            for path, site in self._below
            if site.name in _OUTPUTS and path.startswith(f"{layer}.{rest}.")
        }
        return layer, inside.pop() if len(inside) == 1 else ""

    def _split(self, saved: SavedAdapter, owner: str) -> tuple[str, str]:
        """`bert.encoder.layer.0.output` -> `encoder.layer.0` and `output`."""
        below = owner
        while below:
            for layer in self.layers:
                if below.startswith(layer + "."):
                    return layer, below.removeprefix(layer + ".")
            below = below.partition(".")[2]
        raise saved.refused(
            f"this base has no layer for the weights of {owner[:200]!r}. It is another model, or "
            "this version of transformers has other names for its modules."
        )
