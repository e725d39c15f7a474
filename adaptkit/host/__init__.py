"""Many adapters over one frozen base: every row of a batch with its own."""

from adaptkit.host.batcher import HostBusyError
from adaptkit.host.host import Host

__all__ = ["Host", "HostBusyError"]
