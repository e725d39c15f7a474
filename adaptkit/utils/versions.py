"""Versions of the libraries that made an adapter."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def versions() -> dict[str, str]:
    """The versions of the relevant libraries that are installed."""
    found = {}
    for package in ("adaptkit", "torch", "transformers", "peft"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
