"""Layer ranges in the method grammar. Layers count from 0, as in the names of their parameters.

6         one layer               6-        layer 6 and all above
2-5       layers 2 to 5           last[4]   the upper four
0|2|4     several of these
"""

from __future__ import annotations

import functools
import re

from adaptkit.errors import AdaptkitError
from adaptkit.utils.json_types import shortened

_NUMBER = "[0-9]{1,6}"  # no model has a million layers
_PART = re.compile(
    rf"(?P<first>{_NUMBER})(?P<to>-(?P<last>{_NUMBER})?)?|last\[(?P<count>{_NUMBER})\]"
)


def check_layers(text: str) -> None:
    """Refuse an invalid layer range.

    Raises:
        AdaptkitError: the grammar is invalid, or no layer is given.
    """
    for part in text.split("|"):
        found = _PART.fullmatch(part.strip())
        if not found:
            raise AdaptkitError(
                f"layers={shortened(text)}: {shortened(part)} is no choice of layers; write 6, 6-, "
                "2-5 or last[4], joined with |."
            )
        if (found["count"] and not int(found["count"])) or (
            found["last"] and int(found["last"]) < int(found["first"])
        ):
            raise AdaptkitError(f"layers={shortened(text)}: {shortened(part)} chooses no layer.")


@functools.lru_cache(maxsize=256)
def chosen_layers(text: str, depth: int) -> frozenset[int]:
    """The indices of the layers that `text` selects in a stack of `depth` layers.

    Raises:
        AdaptkitError: the stack does not have such a layer.
    """
    chosen: set[int] = set()
    for part in text.split("|"):
        first, last = _ends(part.strip(), depth)
        if first < 0 or last >= depth:
            raise AdaptkitError(
                f"layers={shortened(text)}: this model has {depth} layers, 0 to {depth - 1}; "
                f"{part!r} goes beyond them."
            )
        chosen.update(range(first, last + 1))
    return frozenset(chosen)


def _ends(part: str, depth: int) -> tuple[int, int]:
    """The first and the last layer of one part."""
    found = _PART.fullmatch(part)
    assert found, part  # checked on parsing
    if found["count"]:
        return depth - int(found["count"]), depth - 1
    first = int(found["first"])
    if not found["to"]:
        return first, first
    return first, int(found["last"]) if found["last"] else max(first, depth - 1)
