"""A network that was captured, checked against the network itself, and run on blocks of rows."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx

from adaptkit.compute.attention import ATTENDS, NotCapturedError
from adaptkit.compute.blocks import Block, Blocks, cut, visible
from adaptkit.compute.capture import inputs_of
from adaptkit.compute.passes import Rewriter
from adaptkit.compute.sites import Layer

TRIED = (41, 40, 17, 16, 5, 3)  # lengths of the rows that are tried
GRAPHS = 16  # after so many kinds of batches, all sites are asked
BOUNDS = {torch.float32: 1e-4, torch.bfloat16: 0.08}  # of the difference, by the largest state
OF_INT8 = 0.15


class Program:
    """The hidden states of a network, for rows of any lengths in one pass.

    network: a transformers model without a head, on a CPU. captured: by `capture`.
    layers: those at its sites, by path. pad: the id that pads rows.
    special: ids of special tokens. int8: its maps are quantized, once the rest is checked.
    `avoided`: special tokens that a network treats otherwise when rows are packed. RoBERTa's
        positions leave out padding; ESM's embeddings depend on the number of masks.

    Raises:
        NotCapturedError: it computes something else than the network.
    """

    def __init__(
        self,
        network: Any,
        captured: fx.GraphModule,
        layers: Mapping[str, Layer],
        pad: int,
        special: Collection[int] = (),
        int8: bool = False,
    ):
        self.names, self.pad = inputs_of(network), pad
        self._rewriter, self._layers = Rewriter(captured, layers), layers
        self._graphs: dict[frozenset[str], fx.GraphModule] = {}
        self._pooler = self._rewriter.pooler()
        self.first = 0  # the position of a row's first token
        self._bounds = BOUNDS
        self._check(network, _windows(captured))
        self.avoided = {token for token in special if not self._takes(network, token)}
        if int8:
            self._rewriter, self._graphs = Rewriter(captured, layers, int8=True), {}
            self._bounds = {torch.float32: OF_INT8}
            if not self._takes(network, 13):
                raise NotCapturedError("its states in int8 are far from those in fp32")

    def reads(self, ids: Sequence[int]) -> bool:
        """Whether a row of these tokens may be packed."""
        return self.avoided.isdisjoint(ids)

    @torch.no_grad()
    def run(
        self, rows: Sequence[Mapping[str, Sequence[int]]], blocks: Blocks, touched: Collection[str]
    ) -> Tensor:
        """The last hidden states of packed rows, `(1, tokens, width)`.

        Args:
            rows: the features of each, in the order of the blocks.
            touched: paths of the modules whose outputs adapters change.
        """
        wanted = frozenset(touched)
        if wanted not in self._graphs and len(self._graphs) >= GRAPHS:
            wanted = frozenset(self._layers)
        if wanted not in self._graphs:
            self._graphs[wanted] = self._rewriter.graph(wanted)
        return self._graphs[wanted].forward(*self._inputs(rows, blocks), blocks)

    def outputs(self, states: Tensor) -> Any:
        """The network's outputs, from the last hidden states of a block."""
        pooled = {} if self._pooler is None else {"pooler_output": self._pooler(states)}
        return self._kind(last_hidden_state=states, **pooled)

    def _inputs(self, rows: Sequence[Mapping[str, Sequence[int]]], blocks: Blocks) -> list[Tensor]:
        packed: dict[str, list[int]] = {name: [] for name in self.names}
        own = iter(rows)
        for block in blocks.blocks:
            for _ in range(block.rows):
                row = next(own)
                left = block.length - len(row["input_ids"])
                packed["input_ids"] += [*row["input_ids"], *[self.pad] * left]
                packed["position_ids"] += range(self.first, self.first + block.length)
                if "token_type_ids" in packed:
                    kinds = row.get("token_type_ids") or [0] * (block.length - left)
                    packed["token_type_ids"] += [*kinds, *[0] * left]
        return [torch.tensor(packed[name])[None] for name in self.names]

    def _check(self, network: Any, windows: set[int]) -> None:
        """Compare with the network itself on rows of several lengths; finds the first position.

        windows: of its attention. A row that is longer than each is tried, too.
        """
        most = (getattr(network.config, "max_position_embeddings", None) or max(TRIED) + 2) - 2
        tried = {*TRIED, *(window + 9 for window in windows)}
        lengths = sorted((length for length in tried if length <= most), reverse=True)
        rows = _rows(lengths, network.config.vocab_size, "token_type_ids" in self.names)
        padding = getattr(network.config, "pad_token_id", None)
        for self.first in (0, *([padding + 1] if padding is not None else [])):
            if self._agrees(network, rows) and self._takes(network, 13):
                return
        raise NotCapturedError(f"{type(network).__name__} computes something else when captured")

    def _agrees(self, network: Any, rows: list[dict[str, list[int]]]) -> bool:
        """Packed rows, longest first, have the outputs of the network for each alone."""
        expected = _one_by_one(network, rows)
        self._kind = type(expected[0])
        try:
            found = [self.outputs(states[None]) for states in self.states(rows)]
        except (IndexError, RuntimeError):  # no such position; a size that was taken for fixed
            return False
        return all(
            _close(one, other, self._bounds) for one, other in zip(found, expected, strict=True)
        )

    def _takes(self, network: Any, token: int) -> bool:
        """A row with this token has its own states, and leaves those of another as they were."""
        with_token, without = _rows_with(token), _rows_with(12)
        alone = torch.equal(self.states(with_token)[1], self.states(without)[1])
        return alone and self._agrees(network, with_token)

    def states(self, rows: Sequence[Mapping[str, Sequence[int]]]) -> list[Tensor]:
        """The hidden states of rows, longest first, without adapters, each `(tokens, width)`."""
        lengths = [len(row["input_ids"]) for row in rows]
        blocks = pack(lengths, cut(lengths))
        found = blocks.of(self.run(rows, blocks, ()))
        states = [state for block in found for state in block]
        return [state[:length] for state, length in zip(states, lengths, strict=True)]


def _close(found: Any, expected: Any, bounds: Mapping[torch.dtype, float]) -> bool:
    """All tensors of a network's outputs are close, by the largest number in each."""
    tensors = {name: one for name, one in expected.items() if isinstance(one, Tensor)}
    return all(
        name in found and (found[name] - one).abs().max() <= bounds[one.dtype] * one.abs().max()
        for name, one in tensors.items()
    )


def pack(lengths: Sequence[int], parts: Sequence[slice], owners: Sequence[Any] = ()) -> Blocks:
    """Blocks of rows. owners: of each block, see `Block`."""
    blocks, start = [], 0
    for number, part in enumerate(parts):
        own = lengths[part]
        owner = owners[number] if owners else None
        blocks.append(Block(start, len(own), max(own), visible(own), owner))
        start += len(own) * max(own)
    return Blocks(blocks)


def _windows(captured: fx.GraphModule) -> set[int]:
    """The widths of a network's windows of attention."""
    nodes = captured.graph.find_nodes(op="call_function", target=ATTENDS)
    windows: list[Any] = [node.args[5] for node in nodes]
    return {*windows} - {0}


def _rows(lengths: Sequence[int], ids: int, kinds: bool) -> list[dict[str, list[int]]]:
    generator = torch.Generator().manual_seed(0)
    rows = []
    for length in lengths:
        row = {"input_ids": torch.randint(3, ids, (length,), generator=generator).tolist()}
        if kinds:
            row["token_type_ids"] = [0] * (length // 2) + [0] * (length - length // 2)
        rows.append(row)
    return rows


def _rows_with(token: int) -> list[dict[str, list[int]]]:
    """A row with a special token in it, and one beside it."""
    return [{"input_ids": [5, 6, token, 7, 8]}, {"input_ids": [9, 10, 11]}]


@torch.no_grad()
def _one_by_one(network: Any, rows: list[dict[str, list[int]]]) -> list[Any]:
    """What the network itself says of each row."""
    found = []
    for row in rows:
        given = {name: torch.tensor([ids]) for name, ids in row.items()}
        found.append(network(**given))
    return found
