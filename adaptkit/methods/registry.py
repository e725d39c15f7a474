"""The registry of methods. Each file in this folder and each plug-in registers its own class."""

from __future__ import annotations

import functools
import pkgutil
import re
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path

from adaptkit.errors import AdaptkitError
from adaptkit.methods.base import Method

OWN = "adaptkit.methods."  # where adaptkit's own methods are
METHODS: dict[str, type[Method]] = {}


def register(method: type[Method]) -> type[Method]:
    """Class decorator: register a method under its `name`.

    Raises:
        AdaptkitError: the class is not a frozen dataclass derived from Method, or has no usable
            name, or one of adaptkit's own methods has it.
    """
    if not (
        isinstance(method, type)
        and issubclass(method, Method)
        and "__dataclass_fields__" in vars(method)
    ):
        raise AdaptkitError(
            "register takes a @dataclass(frozen=True) derived from adaptkit.Method; it got "
            f"{method!r}."
        )
    if not re.fullmatch(r"[a-z][a-z0-9_]*", method.name):
        raise AdaptkitError(
            f"{method.__name__}.name = {method.name!r}: a method's name is lower case, as in "
            "'my_method'."
        )
    if not method.__module__.startswith(OWN):
        _load_own()
    known = METHODS.get(method.name, method)
    if known.__module__.startswith(OWN) and known.__module__ != method.__module__:
        raise AdaptkitError(
            f"{method.__name__}.name = {method.name!r} is the name of a method of adaptkit's."
        )
    METHODS[method.name] = method
    return method


@functools.cache
def _load_own() -> None:
    """Import every file in this folder; each registers its methods."""
    for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
        import_module(OWN + module.name)


@functools.cache
def _load_all() -> None:
    """Load adaptkit's own methods and those of every plug-in."""
    _load_own()
    for entry in entry_points(group="adaptkit.methods"):
        register(entry.load())


def known_methods() -> dict[str, type[Method]]:
    """Every registered method by name, including those of installed plug-ins."""
    _load_all()
    return dict(METHODS)
