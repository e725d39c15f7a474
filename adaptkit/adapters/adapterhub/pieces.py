"""The pieces of a converted adapter: one method with its weights at one site, and their union."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from dataclasses import dataclass

from torch import Tensor

from adaptkit.errors import AdaptkitError
from adaptkit.methods.base import Method
from adaptkit.models.sites import SITE_NAMES, Site

# Maps are changed before what stands behind them reads them.
_ORDER = ("lora", "ia3", "prefix", "bottleneck")


@dataclass
class Piece:
    """A method, without `sites` and `layers`, and its parameters at one site."""

    site: Site
    method: Method
    tensors: dict[str, Tensor]

    @property
    def key(self) -> tuple[str, str, str]:
        """What tells pieces apart: the module, the site and the kind of method."""
        return self.site.module, self.site.key, self.method.name


def as_union(pieces: list[Piece], sites: list[Site]) -> tuple[Method, ...]:
    """The methods that are at exactly the sites of `pieces`, of all the `sites` of a model.

    Raises:
        AdaptkitError: of two stacks, they take other layers: `layers=` counts alike in both.
    """
    places: dict[Method, dict[str | None, set[str]]] = defaultdict(lambda: defaultdict(set))
    for method in {piece.method: None for piece in pieces}:
        for name in {piece.site.name for piece in pieces if piece.method == method}:
            at = {one.site for one in pieces if one.method == method and one.site.name == name}
            places[method][_layers(name, at, sites)].add(name)
    union = [
        dataclasses.replace(method, sites=_sites(method, names, sites), layers=layers)
        for method, by_layers in places.items()
        for layers, names in by_layers.items()
    ]
    return tuple(sorted(union, key=lambda method: _ORDER.index(method.name)))


def _layers(name: str, at: set[Site], sites: list[Site]) -> str | None:
    """The `layers` of a method, None for all of them."""
    taken = {site.layer for site in at}
    left = {site.layer for site in sites if site.name == name and site not in at}
    if taken & left:
        raise AdaptkitError(
            f"at {name}, it leaves out other layers of the encoder than of the decoder; adaptkit's "
            "layers= counts alike in both."
        )
    return "|".join(map(str, sorted(taken))) if left else None


def _sites(method: Method, names: set[str], sites: list[Site]) -> tuple[str, ...]:
    """The `sites` of a method, () for its default."""
    default = {site.name for site in sites if site.name in method.default_sites}
    return () if names == default else tuple(sorted(names, key=SITE_NAMES.index))
