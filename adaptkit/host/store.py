"""A store: a folder of adapters, each in a folder of its own, by name."""

from __future__ import annotations

from pathlib import Path

from adaptkit.cards import CONFIG, read_card
from adaptkit.errors import AdaptkitError, nearest_beside, unknown


class Store:
    """The adapters in `folder`; looked up when asked, so new ones are found.

    Raises:
        AdaptkitError: there is no such folder.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise AdaptkitError(f"there is no store {folder}.{nearest_beside(self.folder)}")

    def names(self) -> list[str]:
        """The names of all adapters that are there now."""
        return sorted(path.parent.name for path in self.folder.glob(f"*/{CONFIG}") if not path.parent.name.startswith("."))

    def __contains__(self, name: str) -> bool:
        return is_name(name) and (self.folder / name / CONFIG).is_file() and self._inside(name)

    def path(self, name: str) -> Path:
        """The folder of an adapter.

        Raises:
            AdaptkitError: there is none of this name, or it lies elsewhere.
        """
        if name not in self:
            raise unknown("adapter", name, self.names())
        return self.folder / name

    def _inside(self, name: str) -> bool:
        return (self.folder / name).resolve().parent == self.folder.resolve()

    def bases(self) -> list[str]:
        """The bases of the adapters that say theirs."""
        cards = [read_card(self.folder / name) for name in self.names()]
        return sorted({card.base for card in cards if card is not None and card.base})

    def methods(self) -> list[str]:
        """The methods of the adapters that say theirs, in the grammar."""
        cards = [read_card(self.folder / name) for name in self.names()]
        return sorted(
            {c.method for c in cards if c is not None and c.method and not c.method.startswith("peft:") and c.method != "full"}
        )


def is_name(name: object) -> bool:
    """Whether something can be an adapter's name: one part of a path, not hidden."""
    return isinstance(name, str) and 0 < len(name) < 256 and not name.startswith(".") and not set(name) & set("/\\\0\n")
