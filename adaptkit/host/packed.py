"""Batches that a captured network runs: rows of any lengths in one pass, without much padding."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from adaptkit.compute.blocks import cut
from adaptkit.compute.program import pack
from adaptkit.host.backbone import Backbone
from adaptkit.host.layers import Batch
from adaptkit.host.layout import Layout
from adaptkit.host.rows import Item, layout_of, order
from adaptkit.host.slots import LoadedAdapter

READ = {"input_ids", "attention_mask", "token_type_ids"}


def packable(backbone: Backbone, items: list[Item]) -> tuple[list[Item], list[Item]]:
    """The rows that a captured network can run, and the others, each in their order.

    It runs no adapters with prefixes: their columns differ from row to row.
    """
    program = backbone.program
    if program is None:
        return [], items
    layouts = {layout for item in items if (layout := layout_of(item.loaded)) is not None}
    prefixed = {layout for layout in layouts if _adds_columns(layout)}
    packed: list[Item] = []
    padded: list[Item] = []
    for item in items:
        read = set(item.features) <= READ and all(item.features.get("attention_mask", ()))
        read = read and program.reads(item.features["input_ids"])
        fits = read and layout_of(item.loaded) not in prefixed
        (packed if fits else padded).append(item)
    return packed, padded


def _adds_columns(layout: Layout) -> bool:
    return any(attachment.site.kind == "attention" for attachment in layout.attachments)


def packed_outputs(
    backbone: Backbone,
    items: list[Item],
    choose: Callable[[list[LoadedAdapter | None]], Batch],
) -> Iterator[tuple[list[Item], Any]]:
    """The items of each block in their order there, and the network's outputs for them.

    choose: the weights for rows in this order.
    """
    program = backbone.program
    assert program is not None
    longest_first = sorted(items, key=lambda item: -item.length)
    parts = cut([item.length for item in longest_first])
    blocks = [sorted(longest_first[part], key=lambda item: order(item.loaded)) for part in parts]
    packed = [item for block in blocks for item in block]
    batches = [choose([item.loaded for item in block]) for block in blocks]
    touched = {path for batch in batches for part in batch.parts for path in part.layout.steps}
    together = pack([item.length for item in packed], parts, batches)
    try:
        states = program.run([item.features for item in packed], together, touched)
    finally:
        for batch in batches:
            batch.give_back()
    for block, own in zip(blocks, together.of(states), strict=True):
        yield block, program.outputs(own)
