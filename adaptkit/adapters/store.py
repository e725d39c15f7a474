"""A store: a folder with one subfolder per adapter, by name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from adaptkit.adapters.card import CONFIG, WEIGHTS, TaskCard, read_card
from adaptkit.errors import AdaptkitError, nearest_beside, unknown
from adaptkit.utils.atomic_files import exists_in


class Store:
    """The adapters in `folder`; it is read on each request, so new adapters are found.

    Args:
        allowed: the names that may be requested (default: all).

    Raises:
        AdaptkitError: the folder does not exist, or an allowed adapter is not in it.
    """

    def __init__(self, folder: str | Path, allowed: Sequence[str] | None = None):
        self.folder = Path(folder)
        self.allowed: frozenset[str] | None = None
        if self.folder.is_file():
            raise AdaptkitError(f"{folder} is a file, and no folder of adapters.")
        if not self.folder.is_dir():
            raise AdaptkitError(f"there is no folder {folder}.{nearest_beside(self.folder)}")
        if isinstance(allowed, str):
            raise AdaptkitError(f"allowed adapters are a list of names; it got {allowed!r}.")
        if allowed is not None:
            if not allowed:
                raise AdaptkitError("allowed adapters are a list of names; it is empty.")
            if missing := [name for name in allowed if name not in self]:
                raise unknown("adapter", str(missing[0]), self.names())
            self.allowed = frozenset(allowed)

    def names(self) -> list[str]:
        """The names of all adapters that exist now."""
        return sorted(
            path.parent.name for path in self.folder.glob(f"*/{CONFIG}") if path.parent.name in self
        )

    def __contains__(self, name: object) -> bool:
        return (
            is_name(name)
            and (self.allowed is None or name in self.allowed)
            and exists_in(self.folder / str(name), CONFIG)
            and self._inside(str(name))
        )

    def _inside(self, name: str) -> bool:
        """True if the folder is in the store and is not a link to another place."""
        return (self.folder / name).resolve().parent == self.folder.resolve()

    def path(self, name: str) -> Path:
        """The folder of an adapter.

        Raises:
            AdaptkitError: no adapter has this name, or it is outside the store.
        """
        if name not in self:
            raise unknown("adapter", name, self.names())
        return self.folder / name

    def cards(self) -> dict[str, TaskCard]:
        """The readable cards; adapters without one are refused when requested."""
        found = {}
        for name in self.names():
            try:
                card = read_card(self.folder / name)
            except AdaptkitError:
                continue
            if card is not None:
                found[name] = card
        return found

    def base(self) -> str:
        """The base that all cards name.

        Raises:
            AdaptkitError: they name several, or none.
        """
        bases = sorted({card.base for card in self.cards().values() if card.base})
        if len(bases) == 1:
            return bases[0]
        named = f"adapters of {len(bases)} bases ({', '.join(bases)})"
        raise AdaptkitError(
            f"{self.folder} holds {named if bases else 'no adapter that names its base'}; say "
            "which with base= (--base), or which adapters with adapters= (--adapters)."
        )

    def bytes(self, name: str) -> int:
        """The size of an adapter's weights."""
        path = self.folder / name / WEIGHTS
        return path.stat().st_size if path.is_file() else 0


def is_name(name: object) -> bool:
    """True for a valid adapter name: one path component, not hidden."""
    if not isinstance(name, str) or name.startswith(".") or set(name) & set("/\\\0\n"):
        return False
    try:
        return 0 < len(name.encode("utf-8")) < 256
    except UnicodeEncodeError:
        return False
