"""One row that is being written: its tokens, its text, and when it ends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from adaptkit.host.answers import Piece, TokenLogprob
from adaptkit.host.slots import LoadedAdapter

UNFINISHED = "\ufffd"  # what a tokenizer shows for half a character


@dataclass(frozen=True)
class How:
    """How a row is written.

    ends: the ids that end it. stop: texts that end it, and are left out. warpers: what shapes the
    distribution to draw from; None: the likeliest token. logprobs: how many of the likeliest tokens
    are told with their log-probabilities, beside the one that was chosen; None: not even that.
    """

    max_new_tokens: int
    ends: frozenset[int] = frozenset()
    min_new_tokens: int = 0
    stop: tuple[str, ...] = ()
    warpers: Any = None
    logprobs: int | None = None


@dataclass
class Sequence:
    """A row. `decode`: ids to text; None if nobody reads it.

    ids: what was written, with the end token. text: as far as it is certain. finish_reason: `stop`
    or `length`; None while it is written.
    """

    prompt: list[int]
    loaded: LoadedAdapter | None
    how: How
    decode: Callable[[list[int]], str] | None = None
    seed: int = 0
    ids: list[int] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    text: str = ""
    finish_reason: str | None = None
    generator: torch.Generator | None = None
    given: int = 0  # characters of the text that were handed out
    given_ids: int = 0

    @property
    def length(self) -> int:
        """The tokens that the network has read, once the last one is read too."""
        return len(self.prompt) + len(self.ids)

    def take(self, token: int) -> None:
        """Add a token, and end if it, its text or the count says so."""
        self.ids.append(token)
        ended = token in self.how.ends
        if self.decode is not None:
            ended = self._read(ended) or ended
        if ended:
            self.finish_reason = "stop"
        elif len(self.ids) >= self.how.max_new_tokens:
            self.finish_reason = "length"

    def _read(self, last: bool) -> bool:
        """Decode; returns whether a stop text has come."""
        assert self.decode is not None
        text = self.decode(self.ids)
        places = [at for one in self.how.stop if (at := text.find(one)) >= 0]
        if places:
            self.text = text[: min(places)].strip()
            return True
        last = last or len(self.ids) >= self.how.max_new_tokens
        self.text = (text.rstrip() if last else certain(text, self.how.stop)).lstrip()
        return False

    def piece(self, index: int, texts: bool) -> Piece | None:
        """What is new since the last piece, or None. texts: ids without certain text are not."""
        text, ids = self.text[self.given :], slice(self.given_ids, len(self.ids))
        if texts and not (text or self.finish_reason):
            return None
        self.given, self.given_ids = len(self.text), len(self.ids)
        new = self.logprobs[ids]
        return Piece(index, text, self.ids[ids], self.finish_reason, new, tokens=len(self.prompt))


def certain(text: str, stop: tuple[str, ...]) -> str:
    """A text without what may change: half a character, blanks at its end, the start of a stop."""
    text = text.rstrip(UNFINISHED)
    held = max(
        (
            size
            for one in stop
            for size in range(1, min(len(one), len(text)) + 1)
            if text.endswith(one[:size])
        ),
        default=0,
    )
    return text[: len(text) - held].rstrip()
