"""How closely a metric equals its reference library, and rows to compare both on."""

from hypothesis import strategies as st

EXACT = {"abs": 1e-9, "rel": 1e-9}


def both(item):
    """Equally many predictions and references."""
    return st.lists(st.tuples(item, item), min_size=1, max_size=40)
