"""Many adapters over one frozen base: every row of a batch with its own."""

from adaptkit.host.host import Host

__all__ = ["Host"]
