"""The weights of a batch: slots copied side by side, one segment at a time, to fit in CPU cache."""

from __future__ import annotations

import threading

import torch
from torch import Tensor

from adaptkit.host.layout import Layout, Place, Segment


class Buffer:
    """Memory for one segment of many slots.

    Its views are kept: creating them takes longer than looking them up.
    """

    def __init__(self, numbers: int, like: Tensor):
        self.memory = like.new_empty(numbers)
        self.views: dict[tuple[Place | Segment, int], Tensor] = {}

    def segment(self, segment: Segment, rows: int) -> Tensor:
        """Space for a segment of this many slots, `(rows, width)`."""
        found = self.views.get((segment, rows))
        if found is None:
            found = self.memory[: rows * segment.width].view(rows, segment.width)
            self.views[segment, rows] = found
        return found

    def view(self, place: Place, rows: int) -> Tensor:
        """A parameter of the segment stored here, `(rows, *shape)`."""
        found = self.views.get((place, rows))
        if found is None:
            found = self.views[place, rows] = place.of(self.segment(place.segment, rows))
        return found


class BufferPool:
    """Reusable buffers: on a CPU a copy into fresh memory takes ten times as long."""

    def __init__(self) -> None:
        self._free: list[Buffer] = []
        self._lock = threading.Lock()

    def take(self, numbers: int, like: Tensor) -> Buffer:
        """A buffer of at least this size; a free one that is too small is dropped for it."""
        with self._lock:
            fitting = [buffer for buffer in self._free if len(buffer.memory) >= numbers]
            chosen = min(fitting or self._free, key=lambda buffer: len(buffer.memory), default=None)
            self._free = [buffer for buffer in self._free if buffer is not chosen]
        return (
            chosen
            if chosen is not None and len(chosen.memory) >= numbers
            else Buffer(numbers, like)
        )

    def give_back(self, buffer: Buffer) -> None:
        with self._lock:
            self._free.append(buffer)

    @property
    def bytes(self) -> int:
        """The size of the buffers that are not in use."""
        with self._lock:
            return sum(buffer.memory.nbytes for buffer in self._free)


class Gathered:
    """The slots of a row group, a segment at a time, in memory that stays in the CPU cache.

    slots: all of them, `(slots, width)`. numbers: one slot per row, or one for all rows, in which
        case
    nothing is copied.
    """

    def __init__(
        self, layout: Layout, slots: Tensor, numbers: list[int], rows: int, buffers: BufferPool
    ):
        self.layout, self.slots, self.numbers, self.rows, self.buffers = (
            layout,
            slots,
            numbers,
            rows,
            buffers,
        )
        self._single = len(numbers) == 1
        self._views: dict[Place, Tensor] = {}
        self._buffer: Buffer | None = None
        self._in_buffer: Segment | None = None

    def view(self, place: Place) -> Tensor:
        """A parameter per row; with 0 rows, one for all, without a row axis."""
        if self._single:
            found = self._views.get(place)
            if found is None:
                found = self._views[place] = place.of(self._one(place.segment))
            return found
        if self._in_buffer is not place.segment:
            self._gather(place.segment)
        return self._buffer.view(place, self.rows)

    def _one(self, segment: Segment) -> Tensor:
        one = self.slots[self.numbers[0], segment.start : segment.start + segment.width]
        return one.expand(self.rows, -1) if self.rows else one

    def _gather(self, segment: Segment) -> None:
        if self._buffer is None:
            self._buffer = self.buffers.take(self.rows * self.layout.widest, self.slots)
            self._index = torch.tensor(self.numbers, device=self.slots.device)
        wanted = self.slots[:, segment.start : segment.start + segment.width]
        torch.index_select(wanted, 0, self._index, out=self._buffer.segment(segment, self.rows))
        self._in_buffer = segment

    def give_back(self) -> None:
        """Return the buffer to the pool."""
        if self._buffer is not None:
            self.buffers.give_back(self._buffer)
            self._buffer = self._in_buffer = None
