"""Write rows with different adapters: a token at a time, or with transformers' `generate`."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from adaptkit.data.conversations.ends import words_begin
from adaptkit.host.answers import Answer, Text
from adaptkit.host.layers import NotByRowError
from adaptkit.host.rows import Item, Row, plain_text, table_of
from adaptkit.host.slots import LoadedAdapter
from adaptkit.host.writing.loop import WritingLoop
from adaptkit.host.writing.prompts import Prompts
from adaptkit.host.writing.sequence import How, Sequence
from adaptkit.models.language.row_cache import rows_may_come_and_go
from adaptkit.tasks.language import words_of, write

if TYPE_CHECKING:
    from adaptkit.host.engine import Engine

NEW = 64  # tokens that a base without a task writes
# What a task may say of its writing, if a loop over tokens is to do it.
_PLAIN = {"max_new_tokens", "min_new_tokens", "do_sample", "eos_token_id"}


@dataclass
class Asked:
    """A row of a task, or of the base, that is written.

    settings: as of transformers' `generate`. begin: the token before the words of an answer.
    """

    written: Sequence
    settings: dict[str, Any]
    begin: int | None
    prompts: Prompts

    def answer(self) -> Text:
        """The words that were written."""
        text = self.prompts.text(words_of(self.written.ids, self.settings, self.begin))
        return Text(text, tokens=len(self.written.prompt), new_tokens=len(self.written.ids))

    def tell(self) -> None:
        """Nothing before the answer: a task's text is whole."""


class Writer:
    """Writes for a host. Rows of a base that allows it join and leave while others are written."""

    def __init__(self, engine: Engine):
        self.engine, self.backbone = engine, engine.backbone
        self.prompts = Prompts(engine.backbone, engine.reader.tokenizing)
        self._joins: bool | None = None

    @property
    def by_token(self) -> bool:
        """The base can be written with a token at a time."""
        if self._joins is None:
            model = self.backbone.model
            with self.backbone.forward_lock():
                self._joins = not model.config.is_encoder_decoder and rows_may_come_and_go(model)
        return self._joins

    # Rows of tasks

    def answer(self, rows: list[Row], batch_size: int) -> dict[int, Answer]:
        """The text of each row, by its index."""
        if not rows:
            return {}
        asked = self.read(rows)
        self._write(asked, batch_size)
        return {row.index: one.answer() for row, one in zip(rows, asked, strict=True)}

    def read(self, rows: list[Row]) -> list[Asked]:
        """What to write for rows of tasks, or of the base, in their order.

        Raises:
            AdaptkitError: a row lacks an input of its adapter's task.
        """
        found: dict[int, Asked] = {}
        groups: dict[LoadedAdapter | None, list[int]] = defaultdict(list)
        for number, row in enumerate(rows):
            groups[row.loaded].append(number)
        begin = self._words_begin()
        for loaded, numbers in groups.items():
            prompts, settings = self._prompts(loaded, [rows[i] for i in numbers])
            how = self._how(settings)
            for number, ids in zip(numbers, prompts, strict=True):
                written = Sequence(ids, loaded, how)
                found[number] = Asked(written, settings, begin, self.prompts)
        return [found[number] for number in range(len(rows))]

    def _how(self, settings: dict[str, Any]) -> How:
        """A task's settings of `generate`, for a loop over tokens."""
        ends = settings.get("eos_token_id") or self.prompts.ends(False)
        fewest = settings.get("min_new_tokens") or 0
        return How(settings["max_new_tokens"], frozenset(ends), fewest)

    def _write(self, asked: list[Asked], batch_size: int) -> None:
        """Write rows: those of plain settings together, the others by their settings."""
        together, apart = [], defaultdict(list)
        for one in asked:
            if self.may_join(one):
                together.append(one.written)
            else:
                apart[json.dumps(one.settings, sort_keys=True)].append(one)
        for _ in self.stream(together, batch_size):
            pass
        for key, same in apart.items():
            items = [Item({"input_ids": one.written.prompt}, one.written.loaded) for one in same]
            self.generate(items, batch_size, json.loads(key))
            for one, item in zip(same, items, strict=True):
                one.written.ids = item.found

    def may_join(self, asked: Asked) -> bool:
        """The row can be written a token at a time, with others."""
        return self.by_token and asked.settings.keys() <= _PLAIN

    def _words_begin(self) -> int | None:
        if self.backbone.model.config.is_encoder_decoder:
            return None
        with self.engine.reader.tokenizing:
            return words_begin(self.backbone.tokenizer)

    def _prompts(
        self, loaded: LoadedAdapter | None, rows: list[Row]
    ) -> tuple[list[list[int]], dict[str, Any]]:
        """The prompts of a task's rows, and its settings of `generate`."""
        if loaded is None or loaded.adapter.task is None:
            texts = [plain_text(row.given) for row in rows]
            return self.prompts.ids(texts, [NEW] * len(texts)), {
                "max_new_tokens": NEW,
                "do_sample": False,
            }
        adapter = loaded.adapter
        table = adapter.task.read(
            table_of(adapter.task, [row.given for row in rows], loaded.name), labelled=False
        )
        tokenizer, model = self.backbone.tokenizer, self.backbone.model
        with self.engine.reader.tokenizing:
            settings = adapter.task.generation(tokenizer, model)
            return adapter.task.prompts(model, table, tokenizer, adapter.max_length), settings

    # A token at a time

    def stream(self, rows: list[Sequence], max_rows: int) -> Iterator[list[Sequence]]:
        """Write rows to their ends; after each step those that have new tokens."""
        if self.backbone.mixes:
            try:
                yield from self._stream(rows, max_rows)
                return
            except NotByRowError:  # from now on the backbone knows it; rows go on where they are
                pass
        by_adapter: dict[LoadedAdapter | None, list[Sequence]] = defaultdict(list)
        for row in rows:
            if row.finish_reason is None:
                by_adapter[row.loaded].append(row)
        for own in by_adapter.values():
            yield from self._stream(own, max_rows)

    def _stream(self, rows: list[Sequence], max_rows: int) -> Iterator[list[Sequence]]:
        loop = self.loop(max_rows)
        loop.add(rows)
        while loop.busy:
            yield self.step(loop)

    def loop(self, max_rows: int) -> WritingLoop:
        """A batch that rows can join."""
        return WritingLoop(self.backbone, self.engine.choose, max_rows)

    def step(self, loop: WritingLoop) -> list[Sequence]:
        """A step of a loop, counted."""
        changed = loop.step()
        self.engine.count(len(changed))
        for row in changed:
            if row.finish_reason is not None and row.loaded is not None:
                row.loaded.rows += 1
        return changed

    # With transformers' generate

    def generate(
        self,
        items: list[Item],
        batch_size: int,
        settings: dict[str, Any],
        processors: Callable[[list[Item]], list] | None = None,
    ) -> None:
        """Generate ids from each prompt. `processors`: logits processors of a batch."""

        def one(chosen: list[Item]) -> None:
            more = {"logits_processor": processors(chosen)} if processors else {}
            prompts = [item.features["input_ids"] for item in chosen]
            with self.backbone.running(self.engine.choose([item.loaded for item in chosen])):
                written = write(self.backbone.model, prompts, self.backbone.pad, settings | more)
            for item, ids in zip(chosen, written.tolist(), strict=True):
                item.found = self._ended(ids, settings)

        self.engine.run(items, batch_size, one)

    def _ended(self, ids: list[int], settings: dict[str, Any]) -> list[int]:
        """Generated ids up to the end token: the padding after it depends on the batch."""
        ends = settings.get("eos_token_id", self.backbone.model.generation_config.eos_token_id)
        ends = ends if isinstance(ends, list) else [ends]
        begin = int(
            self.backbone.model.config.is_encoder_decoder
        )  # the decoder's first token may be the end token too
        end = next((i for i, token in enumerate(ids) if i >= begin and token in ends), len(ids))
        return ids[: end + 1]
