"""What `Host.generate` and `Host.stream` do: read prompts, write them in waves, give them back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from adaptkit.errors import AdaptkitError
from adaptkit.host.answers import Piece, Written
from adaptkit.host.manager import AdapterManager
from adaptkit.host.options import need_count
from adaptkit.host.rows import Item
from adaptkit.host.writing.prompts import is_conversation
from adaptkit.host.writing.sampling import SeededSampling, warpers
from adaptkit.host.writing.sequence import How, Sequence
from adaptkit.host.writing.settings import Generation, generation, seeds_of
from adaptkit.host.writing.writer import Writer


@dataclass(frozen=True)
class Call:
    """A checked call: a row and the name of its adapter for each prompt.

    texts: the caller gave texts or messages, and gets texts.
    """

    rows: list[Sequence]
    names: list[str | None]
    how: Generation
    batch_size: int
    texts: bool


class WritingCalls:
    """Calls of one host, from any thread."""

    def __init__(self, manager: AdapterManager, writer: Writer):
        self.manager, self.writer, self.backbone = manager, writer, writer.backbone

    def read(
        self,
        prompts: Any,
        adapters: Any,
        max_new_tokens: Any,
        num_beams: int,
        do_sample: bool,
        seed: Any,
        batch_size: int,
        settings: dict[str, Any],
        stream: bool = False,
    ) -> Call:
        """The call, checked. stream: its text is read while it is written.

        Raises:
            AdaptkitError: see `Host.generate`.
        """
        if not self.backbone.writes:
            raise AdaptkitError(
                f"{self.backbone.name} is an encoder: it cannot write. Ask host(texts, "
                "adapters=...)."
            )
        need_count("batch_size", batch_size)
        if not isinstance(prompts, (str, list, tuple)):
            raise AdaptkitError(
                "prompts are texts or lists of ids, one text or a list; it got "
                f"{type(prompts).__name__}."
            )
        one = isinstance(prompts, str) or is_conversation(prompts)
        prompts = [prompts] if one else list(prompts)
        how = generation(settings, max_new_tokens, num_beams, do_sample, len(prompts))
        ids = self.writer.prompts.ids(prompts, how.max_new_tokens[: len(prompts)])
        talks = [is_conversation(prompt) for prompt in prompts]
        texts = bool(prompts) and (talks[0] or isinstance(prompts[0], str))
        config = self.backbone.model.generation_config
        hows: dict[bool, list[How]] = {
            talk: how.hows(config, self.writer.prompts.ends(talk), self._special(how))
            for talk in {False, *talks}
        }
        if self.backbone.tokenizer is None and (
            needed := {"stop_strings", "logprobs"} & how.by_row.keys()
        ):
            raise AdaptkitError(f"{min(needed)} needs a tokenizer; this host has none.")
        reads = self.backbone.tokenizer is not None and (stream or "stop_strings" in how.by_row)
        decode = self.writer.prompts.decode if reads else None
        rows = [
            Sequence(row, None, hows[talk][i], decode, own)
            for i, (row, talk, own) in enumerate(
                zip(ids, talks, seeds_of(seed, len(prompts)), strict=True)
            )
        ]
        return Call(rows, self.manager.each(adapters, len(prompts)), how, batch_size, texts)

    def room(self, prompt: Any) -> int | None:
        """See `Host.room`."""
        prompts = self.writer.prompts
        return prompts.room(len(prompts.ids([prompt], [0])[0]))

    def _special(self, how: Generation) -> list[int]:
        """The ids of stop texts that are tokens of their own."""
        stop = how.by_row.get("stop_strings") or ()
        if not stop or self.backbone.tokenizer is None:
            return []
        known = self.backbone.tokenizer.get_added_vocab()
        return [known[one] for one in ([stop] if isinstance(stop, str) else stop) if one in known]

    def by_token(self, call: Call) -> bool:
        """The rows of a call can be written a token at a time."""
        return call.how.plain and self.writer.by_token

    def generate(self, call: Call, details: bool) -> list[Any]:
        """Texts for texts, ids for ids; records with `details`."""
        for _ in self._in_waves(call):
            pass
        if details:
            return [self._written(row) for row in call.rows]
        return [self._text(row) if call.texts else row.ids for row in call.rows]

    def _written(self, row: Sequence) -> Written:
        assert row.finish_reason is not None
        told = row.logprobs if row.how.logprobs is not None else None
        return Written(self._text(row), row.ids, row.finish_reason, told, tokens=len(row.prompt))

    def _text(self, row: Sequence) -> str:
        if row.decode is not None:
            return row.text
        return self.writer.prompts.text(row.ids) if self.backbone.tokenizer is not None else ""

    def stream(self, call: Call) -> Iterator[Piece]:
        """Pieces of the rows as they are written.

        Raises:
            AdaptkitError: the base or the settings need whole batches.
        """
        if not self.by_token(call):
            others = ", ".join(call.how.of_generate) or "beams"
            why = f"with {others}" if not call.how.plain else f"over {self.backbone.name}"
            raise AdaptkitError(f"nothing can be streamed {why}: use host.generate.")
        return self._pieces(call)

    def _pieces(self, call: Call) -> Iterator[Piece]:
        place = {id(row): i for i, row in enumerate(call.rows)}
        for changed in self._in_waves(call):
            for row in changed:
                if piece := row.piece(place[id(row)], call.texts):
                    yield piece

    def _in_waves(self, call: Call) -> Iterator[list[Sequence]]:
        """Write the rows when their adapters have slots."""
        with closing(self.manager.waves(call.names)) as waves:
            for chosen, loaded_adapters in waves:
                rows = [call.rows[i] for i in chosen]
                for row, loaded in zip(rows, loaded_adapters, strict=True):
                    row.loaded = loaded
                yield from self.write(call, rows)

    def write(self, call: Call, rows: list[Sequence]) -> Iterator[list[Sequence]]:
        """Write rows of a call, which have their adapters; after each step those that changed."""
        if self.by_token(call):
            yield from self.writer.stream(rows, call.batch_size)
        else:
            self._by_generate(call, rows)
            yield rows

    def _by_generate(self, call: Call, rows: list[Sequence]) -> None:
        """Whole batches, by transformers' `generate`."""
        if call.how.only_by_row:
            raise AdaptkitError(
                f"{' and '.join(call.how.only_by_row)} cannot be had over {self.backbone.name}, "
                "whose rows are written in whole batches."
            )
        items = [Item({"input_ids": row.prompt}, row.loaded, seed=row.seed) for row in rows]
        config = self.backbone.model.generation_config
        warped = warpers(config, call.how.sampling) if call.how.do_sample else None

        def processors(batch: list[Item]) -> list[SeededSampling]:
            assert warped is not None  # requested where sampling happens
            return [SeededSampling(warped, [item.seed for item in batch], self.backbone.device)]

        self.writer.generate(
            items,
            call.batch_size,
            call.how.for_generate(),
            processors if warped is not None else None,
        )
        for row, item in zip(rows, items, strict=True):
            row.ids = item.found
            row.text = self.writer.prompts.text(row.ids) if row.decode else ""
            ended = bool(row.ids) and row.ids[-1] in row.how.ends
            row.finish_reason = "stop" if ended else "length"
