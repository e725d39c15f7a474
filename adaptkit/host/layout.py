"""The layout of a slot: adapters with equal settings store each parameter at the same offset.

A slot is one row of one tensor. The parameters of one half of a layer (its attention, its
feed-forward block) form one stretch of it, a *segment*, which is gathered when that half runs. Maps
that read the same input (q, k and v; the keys and values of cross-attention; the gate and the inner
map of the feed-forward block) have their A's stacked by rows: one product serves all.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass

import torch
from torch import Tensor

from adaptkit.adapters.attachments import Attachment
from adaptkit.methods.base import Method
from adaptkit.models.sites import Site

SAME_INPUT = (("attn.q", "attn.k", "attn.v"), ("cross.k", "cross.v"), ("ffn.in", "ffn.gate"))


@dataclass(eq=False)
class Segment:
    """A stretch of a slot: its offset and its length."""

    start: int
    width: int = 0


class Place:
    """Where a parameter is: its segment, its offset in it, and its shape.

    `turned`: the matrix is stored transposed.
    """

    def __init__(self, segment: Segment, shape: tuple[int, ...], turned: bool = False):
        self.segment, self.start, self.shape, self.turned = segment, segment.width, shape, turned
        self.size = math.prod(shape)
        self._strides = tuple(math.prod(shape[i + 1 :]) for i in range(len(shape)))

    def of(self, gathered: Tensor) -> Tensor:
        """A view of this parameter in segments of slots, `(n, width)` -> `(n, *shape)`.

        For one slot, `(width,)` -> `shape`.
        """
        rows, width = gathered.shape[:-1], gathered.stride()[:-1]
        return gathered.as_strided(
            (*rows, *self.shape), (*width, *self._strides), gathered.storage_offset() + self.start
        )


@dataclass(frozen=True, eq=False)
class Product:
    """`A @ x.mT` of maps with the same input, `(ranks, tokens)`.

    `a`: their A's, stacked by rows.
    """

    a: Place


@dataclass(frozen=True, eq=False)
class Step:
    """One formula at one module. Low-rank ones can also be added in place.

    They know their ranks within a product (None: all), and B, `(r, out)`. On a CPU both products
    are up to two times faster this way than as `x @ A.mT` and with B as `(out, r)`.
    """

    attachment: Attachment
    places: dict[str, Place]
    product: Product | None = None
    ranks: slice | None = None
    b: Place | None = None


class Layout:
    """The offsets of a union's parameters, and what to do at each module of the base.

    union: methods as they are served. sites: those of the base.
    `steps`: module path -> its formulas, in the order of the union.
    `width`: numbers per slot; `widest`: numbers in its largest segment.
    """

    def __init__(self, union: tuple[Method, ...], sites: list[Site]):
        self.union = union
        self.attachments = [
            Attachment(method, site, i)
            for i, method in enumerate(union)
            for site in method.place(sites)
        ]
        self.places: dict[
            tuple[str, str], Place
        ] = {}  # (module path, name of the weight) -> its place
        self.steps: dict[str, list[Step]] = {}
        self.segments: list[Segment] = []
        self.width = 0
        made: dict[Attachment, Step] = {}
        for attachments in _halves(self.attachments, sites):
            made |= self._lay_segment(attachments)
        for attachment in self.attachments:  # in the order of the union
            self.steps.setdefault(attachment.site.module, []).append(made[attachment])
        self.widest = max(segment.width for segment in self.segments)

    def _lay_segment(self, attachments: list[Attachment]) -> dict[Attachment, Step]:
        segment = Segment(self.width)
        self.segments.append(segment)
        made = {}
        products: dict[Attachment, tuple[Product, slice | None]] = {}
        for group in _groups(attachments):
            products |= self._lay_product(segment, group)
        for attachment in attachments:
            low = _low_rank(attachment)
            for name, param in attachment.method.spec(attachment.site).items():
                if (attachment.site.module, attachment.weight_name(name)) not in self.places:
                    self._lay(
                        segment,
                        attachment,
                        name,
                        param.shape,
                        turned=low is not None and name == low[1],
                    )
            places = {
                name: self.places[attachment.site.module, key]
                for name, key in attachment.weight_names.items()
            }
            more = (*products[attachment], places[low[1]]) if low else ()
            made[attachment] = Step(attachment, places, *more)
        self.width += segment.width
        return made

    def _lay(
        self,
        segment: Segment,
        attachment: Attachment,
        name: str,
        shape: tuple[int, ...],
        turned: bool = False,
    ) -> Place:
        place = Place(segment, shape[::-1] if turned else shape, turned)
        self.places[attachment.site.module, attachment.weight_name(name)] = place
        segment.width += place.size
        return place

    def _lay_product(
        self, segment: Segment, group: list[Attachment]
    ) -> dict[Attachment, tuple[Product, slice | None]]:
        """Stack the A's of one group."""
        ranks, specs = (
            [0],
            [
                attachment.method.spec(attachment.site)[_low_rank_names(attachment)[0]]
                for attachment in group
            ],
        )
        whole = Place(segment, (sum(spec.shape[0] for spec in specs), group[0].site.width_in))
        for attachment, spec in zip(group, specs, strict=True):
            self._lay(segment, attachment, _low_rank_names(attachment)[0], spec.shape)
            ranks.append(ranks[-1] + spec.shape[0])
        product = Product(whole)
        return {
            at: (product, slice(*ranks[i : i + 2]) if len(group) > 1 else None)
            for i, at in enumerate(group)
        }

    def fill(self, weights: dict[tuple[str, str], Tensor]) -> Tensor:
        """One fp32 slot `(width,)` from all weights by (module path, name)."""
        slot = torch.empty(self.width, dtype=torch.float32)
        for key, place in self.places.items():
            start = place.segment.start + place.start
            slot[start : start + place.size].view(place.shape).copy_(
                weights[key].mT if place.turned else weights[key]
            )
        return slot


def _halves(attachments: list[Attachment], sites: list[Site]) -> list[list[Attachment]]:
    """Attachments by stack, layer, and attention or feed-forward block."""
    keys, stack, before = {}, 0, 0
    for site in sites:
        stack, before = stack + (site.layer < before), site.layer
        keys[site] = stack, site.layer, site.name.startswith(("attn", "cross"))
    found: dict[tuple, list[Attachment]] = defaultdict(list)
    for attachment in attachments:
        found[keys[attachment.site]].append(attachment)
    return list(found.values())


def _low_rank(attachment: Attachment) -> tuple[str, str] | None:
    return attachment.method.low_rank() if attachment.site.kind == "map" else None


def _low_rank_names(attachment: Attachment) -> tuple[str, str]:
    names = _low_rank(attachment)
    assert names is not None
    return names


def _groups(attachments: list[Attachment]) -> list[list[Attachment]]:
    """Low-rank attachments of one method and one layer whose maps read the same input."""
    found: dict[tuple, list[Attachment]] = defaultdict(list)
    for attachment in attachments:
        site = attachment.site
        if _low_rank(attachment):
            same = next((names for names in SAME_INPUT if site.name in names), (site.name,))
            owner = site.module.rpartition(".")[0] if len(same) > 1 else site.module
            found[attachment.index, owner, same, site.width_in].append(attachment)
    return list(found.values())
