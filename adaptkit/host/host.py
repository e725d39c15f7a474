"""`Host`: one frozen base that answers for many adapters, a different one in every row if need be."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from adaptkit import methods
from adaptkit.errors import AdaptkitError
from adaptkit.host.admission import Admission
from adaptkit.host.answering import Answering, Item, Row
from adaptkit.host.answers import Answer
from adaptkit.host.backbone import load_backbone
from adaptkit.host.incoming import Intake
from adaptkit.host.sampling import SeededSampling, warpers
from adaptkit.host.slots import Resident, Slots
from adaptkit.host.store import Store
from adaptkit.host.waiting import WaitingRoom

_SAMPLING = ("temperature", "top_k", "top_p", "min_p")


class Host:
    """One frozen base and slots for adapters over it. Any thread may call, load and unload at any time.

    ```
    host = Host("all-MiniLM-L6-v2", slots=8)
    host.load("intent", "runs/intent")
    host(["Where is my parcel?", "Just a text."], adapters=["intent", None])
    ```

    Args:
        base: a folder, a name on the Hub, or a transformers model that is loaded (then its `tokenizer` too).
        slots: how many adapters there is memory for; all of it is taken at once.
        room: the largest method that a slot holds, in the grammar; or several, of which the largest counts.
        max_rows, max_wait, max_queue: of `submit`: rows of a batch, seconds that a row waits for others, rows that may wait.
        base_options: for `load_base`: quantize, device_map, dtype, ...

    Raises:
        AdaptkitError: there is no such base, or no place in it for the methods in `room`.
    """

    def __init__(
        self,
        base: Any,
        *,
        slots: int = 32,
        room: str | Sequence[str] = "lora[r=16]",
        tokenizer: Any = None,
        max_rows: int = 32,
        max_wait: float = 0.002,
        max_queue: int = 1024,
        **base_options: Any,
    ):
        if slots < 1:
            raise AdaptkitError(f"a host has 1 slot or more; it got {slots}.")
        self.room = [room] if isinstance(room, str) else list(room)
        self.backbone = load_backbone(base, tokenizer, **base_options)
        self.intake = Intake(self.backbone)
        width = max(self.intake.layout(methods.parse(one)).width for one in self.room)
        self.slots = Slots(slots, width, self.backbone.dtype, self.backbone.device)
        self._admission = Admission(self.intake, self.slots)
        self._answering = Answering(self.backbone, self.slots)
        self._waiting = WaitingRoom(self._admission, self._answering, max_rows, max_wait, max_queue)

    @classmethod
    def from_store(cls, folder: str | Path, base: Any = None, *, slots: int = 32, room: Any = None, **options: Any) -> Host:
        """A host for a folder of adapters, which are loaded when first asked; those unused the longest leave when slots run out.

        Args:
            folder: with a folder for each adapter; new ones are found while the host runs.
            base: by default the one that the adapters' cards name.
            room: by default what the largest of their methods needs.

        Raises:
            AdaptkitError: no such folder, no adapters in it, or several bases.
        """
        store = Store(folder)
        bases = store.bases()
        if base is None and len(bases) != 1:
            listed = f"adapters of {len(bases)} bases ({', '.join(bases)})" if bases else "no adapter that names its base"
            raise AdaptkitError(f"{folder} holds {listed}; say which: Host.from_store(folder, base=...).")
        host = cls(base or bases[0], slots=slots, room=room or store.methods() or "lora[r=16]", **options)
        host._admission.store = store
        return host

    # Adapters

    def load(self, name: str, path: str | Path, *, labels: list[str] | None = None, check_base: bool = True) -> None:
        """Load an adapter from a folder, all of it or nothing. A name that is there gets the new version; rows that are under way
        keep the old one.

        Args:
            path: an adapter of adaptkit's, or a LoRA of PEFT's.
            labels: of an adapter without a card.
            check_base: refuse an adapter of another base.

        Raises:
            AdaptkitError: it is not whole, not of this base, too large for a slot, or no slot is free. Nothing has changed then.
        """
        self._admission.load(name, path, labels, check_base)

    def unload(self, name: str, timeout: float | None = None) -> None:
        """Take an adapter out. New rows cannot ask for it from now on; this waits until those under way are answered.

        Raises:
            AdaptkitError: there is no such adapter, or it is still in use after `timeout` seconds.
        """
        self.slots.remove(name, timeout)

    def names(self) -> list[str]:
        """The adapters that can be asked for: those in slots, and those in the store."""
        return self._admission.names()

    def stats(self) -> dict[str, Any]:
        """Numbers of now: slots and bytes, batches and rows so far, and for each adapter in a slot what it is."""
        residents = self.slots.listed()
        heads = sum(one.adapter.head.bytes for one in residents if one.adapter.head is not None)
        return {
            "base": self.backbone.name,
            "slots": self.slots.count,
            "used": len(residents),
            "slot_bytes": self.slots.bytes // len(self.slots.rows),
            "bytes": {"base": self.backbone.bytes, "slots": self.slots.bytes, "heads": heads, "desks": self._answering.desks.bytes},
            "batches": self._answering.batches,
            "waiting": len(self._waiting.batcher),
            "evictions": self.slots.evictions,
            "adapters": {
                one.name: {
                    "task": one.adapter.task.name if one.adapter.task else None,
                    "method": methods.describe(one.layout.union),
                    "version": one.version,
                    "rows": one.rows,
                    "users": one.users,
                }
                for one in residents
            },
        }

    def __repr__(self) -> str:
        stats = self.stats()
        size = {name: f"{count / 1e6:.1f} MB" for name, count in stats["bytes"].items()}
        return (
            f"Host({stats['base']}: {size['base']} on {self.backbone.device} in {str(self.backbone.dtype)[6:]}; "
            f"{stats['used']} of {stats['slots']} slots used, {size['slots']}; heads {size['heads']})"
        )

    # Answers

    def __call__(
        self, rows: str | dict | Sequence[str | dict], adapters: str | Sequence[str | None] | None = None, *, batch_size: int = 32
    ) -> list[Answer]:
        """One typed answer for each row, in order; see `adaptkit.host.answers`.

        Args:
            rows: texts, or what a task asks for by name: `{"question": ..., "context": ...}`.
            adapters: a name for each row, or one for all; None is the bare base: its hidden states, or its own continuation.

        Raises:
            AdaptkitError: an adapter that is not there (with the nearest name), or a row that lacks what its task asks for.
        """
        rows = [rows] if isinstance(rows, (str, dict)) else list(rows)
        names = self._admission.each(adapters, len(rows))
        answers: dict[int, Answer] = {}

        def run(chosen: list[int], residents: list[Resident | None]) -> None:
            asked = [Row(i, rows[i], resident) for i, resident in zip(chosen, residents, strict=True)]
            answers.update(self._answering.answer(asked, batch_size))

        self._admission.in_waves(names, run)
        return [answers[index] for index in range(len(rows))]

    def hidden(self, inputs: dict[str, Tensor], adapters: str | Sequence[str | None] | None = None) -> Tensor:
        """The last hidden states `(rows, tokens, width)` of inputs `(rows, tokens)` as the model takes them, without heads.

        All of the adapters asked for must fit into the slots at once.
        """
        count = len(next(iter(inputs.values())))
        names = self._admission.each(adapters, count)
        found: list[Any] = []

        def run(chosen: list[int], residents: list[Resident | None]) -> None:
            if len(chosen) < count:
                raise AdaptkitError(f"{len(set(names))} adapters are more than {self.slots.count} slots hold at once.")
            found.append(self._answering.hidden(inputs, residents))

        self._admission.in_waves(names, run)
        return found[0]

    def generate(
        self,
        prompts: str | Sequence[str] | Sequence[Sequence[int]],
        adapters: str | Sequence[str | None] | None = None,
        *,
        max_new_tokens: int = 64,
        num_beams: int = 1,
        do_sample: bool = False,
        seed: int | Sequence[int] = 0,
        batch_size: int = 32,
        **settings: Any,
    ) -> list[Any]:
        """Continuations of prompts, or what an encoder-decoder makes of them, each by its own adapter.

        Sampling does not depend on the batch: every row draws as it would alone after `torch.manual_seed` with its seed.

        Args:
            prompts: texts, or lists of ids.
            seed: of each row; a single number s gives row i the seed s + i.
            settings: others of transformers' `generate`; with `do_sample` also temperature, top_k, top_p and min_p.

        Returns:
            Texts for texts, ids for ids.

        Raises:
            AdaptkitError: the base cannot write, an adapter is not there, or the settings do not go together.
        """
        if not self.backbone.writes:
            raise AdaptkitError(f"{self.backbone.name} is an encoder: it cannot write. Ask host(texts, adapters=...).")
        if do_sample and num_beams > 1:
            raise AdaptkitError("sampling and beams do not go together: num_beams=1 with do_sample, or beams without it.")
        if refused := {"num_return_sequences", "logits_processor", "streamer", "return_dict_in_generate"} & settings.keys():
            raise AdaptkitError(f"generate takes no {', '.join(sorted(refused))} here: each row has one answer.")
        prompts = [prompts] if isinstance(prompts, str) else list(prompts)
        texts = bool(prompts) and isinstance(prompts[0], str)
        names = self._admission.each(adapters, len(prompts))
        seeds = [seed + i for i in range(len(prompts))] if isinstance(seed, int) else list(seed)
        if len(seeds) != len(prompts):
            raise AdaptkitError(f"{len(prompts)} prompts and {len(seeds)} seeds.")
        ids = self._answering.ids(prompts) if texts else prompts
        sampling = {name: settings.pop(name) for name in _SAMPLING if do_sample and name in settings}
        chosen_settings = {"max_new_tokens": max_new_tokens, "num_beams": num_beams, "do_sample": False, **settings}
        items = [Item({"input_ids": list(row)}, None, seed=one) for row, one in zip(ids, seeds, strict=True)]

        def processors(batch: list[Item]) -> list[SeededSampling]:
            config = self.backbone.model.generation_config
            return [SeededSampling(warpers(config, sampling), [item.seed for item in batch], self.backbone.device)]

        def run(chosen: list[int], residents: list[Resident | None]) -> None:
            for index, resident in zip(chosen, residents, strict=True):
                items[index].resident = resident
            mine = [items[index] for index in chosen]
            self._answering.write(mine, batch_size, chosen_settings, processors if do_sample else None)

        self._admission.in_waves(names, run)
        return [self._answering.text(item.found) if texts else item.found for item in items]

    async def submit(self, row: str | dict, adapter: str | None = None) -> Answer:
        """One row of one of many callers; rows that come at the same time are answered in one batch.

        Raises:
            HostBusyError: too many rows are waiting.
            AdaptkitError: an adapter that is not there, or a row that lacks what its task asks for.
        """
        return await asyncio.wrap_future(self._waiting.put(row, adapter))

    def close(self) -> None:
        """Stop answering what was submitted; waiting rows get an error. Direct calls go on working."""
        self._waiting.close()
