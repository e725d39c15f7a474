"""A store: a folder of adapters, each in a folder of its own, by name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from adaptkit.adapters.card import CONFIG, WEIGHTS, TaskCard, read_card
from adaptkit.errors import AdaptkitError, nearest_beside, unknown


class Store:
    """The adapters in `folder`; looked up when asked, so new ones are found.

    Args:
        allowed: the names that may be asked for (default: all).

    Raises:
        AdaptkitError: there is no such folder, or an allowed adapter is not in it.
    """

    def __init__(self, folder: str | Path, allowed: Sequence[str] | None = None):
        self.folder = Path(folder)
        self.allowed: frozenset[str] | None = None
        if not self.folder.is_dir():
            raise AdaptkitError(f"there is no store {folder}.{nearest_beside(self.folder)}")
        if isinstance(allowed, str):
            raise AdaptkitError(f"allowed adapters are a list of names; it got {allowed!r}.")
        if allowed is not None:
            if missing := [name for name in allowed if name not in self]:
                raise unknown("adapter", str(missing[0]), self.names())
            self.allowed = frozenset(allowed)

    def names(self) -> list[str]:
        """The names of all adapters that are there now."""
        return sorted(
            path.parent.name for path in self.folder.glob(f"*/{CONFIG}") if path.parent.name in self
        )

    def __contains__(self, name: object) -> bool:
        return (
            is_name(name)
            and (self.allowed is None or name in self.allowed)
            and (self.folder / str(name) / CONFIG).is_file()
            and self._inside(str(name))
        )

    def _inside(self, name: str) -> bool:
        """Whether it lies in the store and is no link to elsewhere."""
        return (self.folder / name).resolve().parent == self.folder.resolve()

    def path(self, name: str) -> Path:
        """The folder of an adapter.

        Raises:
            AdaptkitError: there is none of this name, or it lies elsewhere.
        """
        if name not in self:
            raise unknown("adapter", name, self.names())
        return self.folder / name

    def cards(self) -> dict[str, TaskCard]:
        """The cards of the adapters that have a readable one; others are refused when they are
        asked for.
        """
        found = {}
        for name in self.names():
            try:
                card = read_card(self.folder / name)
            except AdaptkitError:
                continue
            if card is not None:
                found[name] = card
        return found

    def bytes(self, name: str) -> int:
        """The size of an adapter's weights."""
        path = self.folder / name / WEIGHTS
        return path.stat().st_size if path.is_file() else 0


def is_name(name: object) -> bool:
    """Whether something can be an adapter's name: one part of a path, not hidden."""
    if not isinstance(name, str) or name.startswith(".") or set(name) & set("/\\\0\n"):
        return False
    try:
        return 0 < len(name.encode("utf-8")) < 256
    except UnicodeEncodeError:
        return False
