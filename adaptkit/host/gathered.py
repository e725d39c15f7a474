"""The weights of a batch: slots copied side by side, one segment at a time, into memory that stays in the processor's cache."""

from __future__ import annotations

import threading

import torch
from torch import Tensor

from adaptkit.host.layout import Layout, Place, Segment


class Desk:
    """Memory for one segment of many slots. Views of it are kept: to make them takes longer than to look them up."""

    def __init__(self, numbers: int, like: Tensor):
        self.memory = like.new_empty(numbers)
        self.views: dict[tuple[Place | Segment, int], Tensor] = {}

    def segment(self, segment: Segment, rows: int) -> Tensor:
        """Room for a segment of so many slots, `(rows, width)`."""
        found = self.views.get((segment, rows))
        if found is None:
            found = self.memory[: rows * segment.width].view(rows, segment.width)
            self.views[segment, rows] = found
        return found

    def view(self, place: Place, rows: int) -> Tensor:
        """A parameter of the segment that lies here, `(rows, *shape)`."""
        found = self.views.get((place, rows))
        if found is None:
            found = self.views[place, rows] = place.of(self.segment(place.segment, rows))
        return found


class Desks:
    """Desks, used again and again: on a CPU a copy into fresh memory takes ten times as long."""

    def __init__(self) -> None:
        self._free: list[Desk] = []
        self._lock = threading.Lock()

    def take(self, numbers: int, like: Tensor) -> Desk:
        """A desk for so many numbers, or more; a free one that is too small makes way for it."""
        with self._lock:
            fitting = [desk for desk in self._free if len(desk.memory) >= numbers]
            chosen = min(fitting or self._free, key=lambda desk: len(desk.memory), default=None)
            self._free = [desk for desk in self._free if desk is not chosen]
        return chosen if chosen is not None and len(chosen.memory) >= numbers else Desk(numbers, like)

    def give_back(self, desk: Desk) -> None:
        with self._lock:
            self._free.append(desk)

    @property
    def bytes(self) -> int:
        """Of the desks that nobody uses now."""
        with self._lock:
            return sum(desk.memory.nbytes for desk in self._free)


class Gathered:
    """The slots of a part's rows, a segment at a time: memory that stays in the processor's cache.

    slots: all of them, `(slots, width)`. numbers: a slot for each row, or one for all; then nothing is copied.
    """

    def __init__(self, layout: Layout, slots: Tensor, numbers: list[int], rows: int, desks: Desks):
        self.layout, self.slots, self.numbers, self.rows, self.desks = layout, slots, numbers, rows, desks
        self._single = len(numbers) == 1
        self._views: dict[Place, Tensor] = {}
        self._desk: Desk | None = None
        self._on_desk: Segment | None = None

    def view(self, place: Place) -> Tensor:
        """A parameter for each row; with 0 rows, one for all, without an axis of rows."""
        if self._single:
            found = self._views.get(place)
            if found is None:
                found = self._views[place] = place.of(self._one(place.segment))
            return found
        if self._on_desk is not place.segment:
            self._gather(place.segment)
        return self._desk.view(place, self.rows)

    def _one(self, segment: Segment) -> Tensor:
        one = self.slots[self.numbers[0], segment.start : segment.start + segment.width]
        return one.expand(self.rows, -1) if self.rows else one

    def _gather(self, segment: Segment) -> None:
        if self._desk is None:
            self._desk = self.desks.take(self.rows * self.layout.widest, self.slots)
            self._index = torch.tensor(self.numbers, device=self.slots.device)
        wanted = self.slots[:, segment.start : segment.start + segment.width]
        torch.index_select(wanted, 0, self._index, out=self._desk.segment(segment, self.rows))
        self._on_desk = segment

    def give_back(self) -> None:
        """Let others have the desk."""
        if self._desk is not None:
            self.desks.give_back(self._desk)
            self._desk = self._on_desk = None
