"""What a `Host` over a base that writes does with prompts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence
from typing import Any

from adaptkit.host.answers import Piece
from adaptkit.host.queue import RequestQueue
from adaptkit.host.writing.calls import WritingCalls
from adaptkit.host.writing.submitted import pieces_of


class WritingHost:
    """The methods of `Host` that write from prompts."""

    _calls: WritingCalls
    _queue: RequestQueue

    def generate(
        self,
        prompts: Any,
        adapters: str | Sequence[str | None] | None = None,
        *,
        max_new_tokens: int | Sequence[int] = 64,
        num_beams: int = 1,
        do_sample: bool = False,
        seed: int | Sequence[int] = 0,
        batch_size: int = 32,
        details: bool = False,
        **settings: Any,
    ) -> list[Any]:
        """Generate from prompts, each with its own adapter.

        Returns continuations, or the output sequence of an encoder-decoder. At most `batch_size`
        rows are written at once; where one ends, the next one joins the others. Sampling does not
        depend on the batch: every row draws as it would alone after `torch.manual_seed` with its
        seed.

        Args:
            prompts: texts, lists of messages (for the base's chat template), or lists of ids.
            max_new_tokens, seed: one for all, or one per row; a seed s gives row i the seed s + i.
            details: `Written` records, with `finish_reason` and, if asked for, `logprobs`.
            settings: stop_strings (texts that end a row), logprobs (a number of likeliest tokens),
                and other settings of transformers' `generate` that mean the same for every row;
                with `do_sample` also temperature, top_k, top_p and min_p.

        Returns:
            Texts for texts and messages, ids for ids; ids include the end token if the row has one.

        Raises:
            AdaptkitError: the base cannot generate, an adapter does not exist, or the settings
                contradict each other.
        """
        call = self._calls.read(
            prompts, adapters, max_new_tokens, num_beams, do_sample, seed, batch_size, settings
        )
        return self._calls.generate(call, details or "logprobs" in settings)

    def stream(
        self,
        prompts: Any,
        adapters: str | Sequence[str | None] | None = None,
        *,
        max_new_tokens: int | Sequence[int] = 64,
        do_sample: bool = False,
        seed: int | Sequence[int] = 0,
        batch_size: int = 32,
        **settings: Any,
    ) -> Iterator[Piece]:
        """The same as `generate`, piece by piece as the rows are written.

        The pieces of a row make its text. Rows are written while pieces are asked for; to stop
        early, close the iterator.

        Raises:
            AdaptkitError: as of `generate`; or a setting, or the base, needs whole batches.
        """
        return self._calls.stream(
            self._calls.read(
                prompts, adapters, max_new_tokens, 1, do_sample, seed, batch_size, settings, True
            )
        )

    def room(self, prompt: Any) -> int | None:
        """How many tokens the base's positions leave behind a prompt; None: they do not end.

        Raises:
            AdaptkitError: as of `generate`.
        """
        return self._calls.room(prompt)

    async def submit_stream(
        self,
        prompt: Any,
        adapter: str | None = None,
        *,
        max_new_tokens: int = 64,
        do_sample: bool = False,
        seed: int = 0,
        **settings: Any,
    ) -> AsyncGenerator[Piece]:
        """The same as `stream` for one prompt, queued: it is written together with those of others.

        A row that cannot be streamed comes as one piece. Leaving the loop takes the row out.

        Raises:
            HostBusyError: the queue is full.
            AdaptkitError: as of `generate`.
        """
        call = await asyncio.to_thread(  # reading a long prompt takes a while
            self._calls.read,
            *([prompt], adapter, max_new_tokens, 1, do_sample, seed, 1, settings, True),
        )
        async for piece in pieces_of(call, lambda row: self._queue.put_prompt(row, adapter)):
            yield piece
