"""Adapters as changes of low rank: their factors at each map, and fewer of them."""
