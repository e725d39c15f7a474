"""Where every parameter of a method lies in a slot: the same places for all adapters whose settings agree.

A slot is one row of one tensor. The maps of a layer that read the same input (q, k and v; the keys and values of cross-attention; the
gate and the inner map of the feed-forward block) have their A's side by side, so that one product serves them all.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass

import torch
from torch import Tensor

from adaptkit.layers import Attachment
from adaptkit.methods.base import Method
from adaptkit.sites import Site

SAME_INPUT = (("attn.q", "attn.k", "attn.v"), ("cross.k", "cross.v"), ("ffn.in", "ffn.gate"))


@dataclass(frozen=True)
class Place:
    """A parameter in a slot: its first number and its shape."""

    start: int
    shape: tuple[int, ...]

    @property
    def end(self) -> int:
        return self.start + math.prod(self.shape)

    def of(self, slots: Tensor) -> Tensor:
        """Views of this parameter in slots `(n, width)` -> `(n, *shape)`, or in one `(width,)` -> `shape`."""
        return slots[..., self.start : self.end].unflatten(-1, self.shape)

    def among(self, rows: int, start: int) -> Place:
        """A matrix of `rows` rows that begins here, or before: this parameter with its neighbours."""
        return Place(start, (rows, *self.shape[1:]))


@dataclass(frozen=True)
class Product:
    """`x @ A.mT` of maps with the same input. `key`: the same for all of them; `a`: their A's under each other."""

    key: tuple[str, int]
    a: Place


@dataclass(frozen=True)
class Step:
    """One formula at one module. Low-rank ones also say how to be added in place: their columns of a product, and B."""

    attachment: Attachment
    places: dict[str, Place]
    product: Product | None = None
    columns: slice | None = None
    b: Place | None = None


class Layout:
    """The places of a union's parameters, and what to do at each module of the base.

    union: methods as they are served. sites: of the base. `steps`: module path -> its formulas, in the order of the union.
    `width`: numbers in a slot.
    """

    def __init__(self, union: tuple[Method, ...], sites: list[Site]):
        self.union = union
        self.attachments = [Attachment(method, site, i) for i, method in enumerate(union) for site in method.place(sites)]
        self.places: dict[tuple[str, str], Place] = {}  # (module path, name of the weight) -> its place
        self.width = 0
        products: dict[tuple[str, str], tuple[Product, slice]] = {}
        for group in _groups(self.attachments):
            products |= self._lay_product(group)
        for attachment in self.attachments:
            for name, param in attachment.method.spec(attachment.site).items():
                key = attachment.site.module, attachment.weight_name(name)
                if key not in self.places:
                    self.places[key] = self._lay(param.shape)
        self.steps: dict[str, list[Step]] = defaultdict(list)
        for attachment in self.attachments:
            self.steps[attachment.site.module].append(self._step(attachment, products))
        self.steps.default_factory = None

    def _lay(self, shape: tuple[int, ...]) -> Place:
        place = Place(self.width, shape)
        self.width = place.end
        return place

    def _lay_product(self, group: list[Attachment]) -> dict[tuple[str, str], tuple[Product, slice]]:
        """Put the A's of one group side by side."""
        laid = []
        for attachment in group:
            name = attachment.weight_name(attachment.method.low_rank()[0])
            place = self._lay(attachment.method.spec(attachment.site)[attachment.method.low_rank()[0]].shape)
            self.places[attachment.site.module, name] = place
            laid.append(((attachment.site.module, name), place))
        rows, found, first = sum(place.shape[0] for _, place in laid), {}, 0
        product = Product(laid[0][0], laid[0][1].among(rows, laid[0][1].start))
        for key, place in laid:
            found[key] = product, slice(first, first + place.shape[0])
            first += place.shape[0]
        return found

    def _step(self, attachment: Attachment, products) -> Step:
        path, names = attachment.site.module, attachment.weight_names
        places = {name: self.places[path, key] for name, key in names.items()}
        low = attachment.method.low_rank() if attachment.site.kind == "map" else None
        if low is None:
            return Step(attachment, places)
        product, columns = products[path, names[low[0]]]
        return Step(attachment, places, product, columns, places[low[1]])

    def fill(self, weights: dict[tuple[str, str], Tensor]) -> Tensor:
        """One slot `(width,)` in fp32 from all weights by (module path, name)."""
        slot = torch.empty(self.width)
        for key, place in self.places.items():
            slot[place.start : place.end] = weights[key].reshape(-1)
        return slot


def _groups(attachments: list[Attachment]) -> list[list[Attachment]]:
    """Low-rank attachments of one method and one layer whose maps read the same input."""
    found: dict[tuple, list[Attachment]] = defaultdict(list)
    for attachment in attachments:
        site = attachment.site
        if site.kind == "map" and attachment.method.low_rank():
            same = next((names for names in SAME_INPUT if site.name in names), (site.name,))
            owner = site.module.rpartition(".")[0] if len(same) > 1 else site.module
            found[attachment.index, owner, same, site.width_in].append(attachment)
    return list(found.values())
