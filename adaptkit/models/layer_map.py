"""Map each layer of a shallower network to a source layer."""

from __future__ import annotations

from collections.abc import Sequence

from adaptkit.errors import AdaptkitError, unknown

LAYER_MAPS = ("every", "first", "last")


def layer_map(layers: str | Sequence[int], source: int, target: int) -> list[int]:
    """For each layer of a target of one depth, the layer of a source of another depth.

    Raises:
        AdaptkitError: the map is unknown, or the source does not have these layers.
    """
    if isinstance(layers, str) and layers not in LAYER_MAPS:
        if not all(part.strip().isdigit() for part in layers.split(",")):
            raise unknown("layer map", layers, LAYER_MAPS)
        layers = [int(part) for part in layers.split(",")]
    if isinstance(layers, str):
        if layers != "every" and target > source:
            raise AdaptkitError(
                f"layers={layers!r}: the source has {source} layers, fewer than the {target} of "
                "the target."
            )
        if layers == "every":
            spread = range(1, target + 1) if target <= source else range(target)
            return [i * source // target - (target <= source) for i in spread]
        start = source - target if layers == "last" else 0
        return list(range(start, start + target))
    if len(layers) != target or not all(0 <= index < source for index in layers):
        raise AdaptkitError(
            f"layers={list(layers)}: {target} numbers are wanted, one for each layer of the "
            f"target, from 0 to {source - 1}."
        )
    return list(layers)
