"""Rewrite a captured graph: the adapters' places, maps that go together, nothing superfluous."""

from __future__ import annotations

import itertools
import operator
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn

from adaptkit.compute.attention import ATTENDS, Attend, NotCapturedError
from adaptkit.compute.maps import Norm, QuantizedMap, Split, one_map, packs
from adaptkit.compute.sites import Change, Layer

ATEN = torch.ops.aten
LINEAR, GELU = ATEN.linear.default, ATEN.gelu.default
DROPOUT, NORM = ATEN.dropout.default, ATEN.layer_norm.default
NORM_DEFAULTS: tuple[Any, ...] = (None, None, 1e-5)  # weight, bias, eps
SITE = torch.ops.adaptkit.site.default


class Rewriter:
    """Makes graphs that run from one that was captured; they share their weights.

    captured: what `capture` gives; it stays as it is. layers: those at its sites, by path.
    int8: its maps are quantized.
    """

    def __init__(self, captured: fx.GraphModule, layers: Mapping[str, Layer], int8: bool = False):
        self.captured, self.layers, self.int8 = captured, layers, int8
        self._modules: dict[tuple[Any, ...], nn.Module] = {}

    def graph(self, touched: Collection[str]) -> fx.GraphModule:
        """The graph for blocks whose adapters change the outputs at these paths only.

        It takes the captured graph's inputs and, behind them, `Blocks`.
        """
        rewriting = _Rewriting(self.captured, self._module, self.int8)
        rewriting.drop(DROPOUT)
        rewriting.add_blocks()
        rewriting.place_changes({path: self.layers[path] for path in touched})
        rewriting.place_attention()
        rewriting.drop_unused()
        rewriting.place_norms()
        rewriting.place_maps()
        return rewriting.finished()

    def pooler(self) -> fx.GraphModule | None:
        """The graph from last hidden states, `(rows, tokens, width)`, to the pooler's output.

        Raises:
            NotCapturedError: the pooler reads something else, too.
        """
        states, *pooled = _outputs(self.captured.graph)
        if not pooled:
            return None
        graph = fx.Graph()
        copies = {states: graph.placeholder("states")}
        for node in self.captured.graph.nodes:
            known = node in copies or node.op in ("placeholder", "output")
            if not known and all(one in copies for one in node.all_input_nodes):
                copies[node] = graph.node_copy(node, copies.__getitem__)
        if pooled[0] not in copies:
            raise NotCapturedError("the pooler reads more than the last hidden states")
        graph.output(copies[pooled[0]])
        graph.eliminate_dead_code()
        return fx.GraphModule(self.captured, graph)

    def _module(self, make: Callable[[], nn.Module], *key: Any) -> nn.Module:
        """A module that is made once for each key."""
        if key not in self._modules:
            self._modules[key] = make()
        return self._modules[key]


class _Rewriting:
    """One copy of a captured graph on its way."""

    def __init__(self, captured: fx.GraphModule, module: Callable[..., nn.Module], int8: bool):
        self.captured, self.module, self.int8 = captured, module, int8
        self.graph = fx.Graph()
        self.root = nn.Module()
        copies: dict[fx.Node, fx.Node] = {}
        self.graph.graph_copy(captured.graph, copies)
        self.graph.output(copies[_outputs(captured.graph)[0]])
        self._numbers = itertools.count()

    def drop(self, target: Any) -> None:
        """Leave out operations that change nothing."""
        for node in self._calls(target):
            node.replace_all_uses_with(_read(node)[0])
            self.graph.erase_node(node)

    def add_blocks(self) -> None:
        last = [node for node in self.graph.nodes if node.op == "placeholder"][-1]
        with self.graph.inserting_after(last):
            self.blocks = self.graph.placeholder("blocks")

    def place_changes(self, layers: Mapping[str, Layer]) -> None:
        """Ask these layers; the others change nothing."""
        for node in self._calls(SITE):
            x, y, stream, path = _read(node)
            if path in layers:
                self._call(node, Change(layers[path]), x, y, stream, self.blocks)
            else:
                node.replace_all_uses_with(y)
                self.graph.erase_node(node)

    def place_attention(self) -> None:
        for node in self._calls(ATTENDS):
            *read, scale, causal, window = _read(node)
            self._call(node, Attend(scale, causal, window), *read, self.blocks)

    def drop_unused(self) -> None:
        self.graph.eliminate_dead_code(lambda node: node.op in ("placeholder", "output"))

    def place_norms(self) -> None:
        for node in self._stored(NORM):
            x, shape, *rest = _read(node)[:5]
            weight, bias, eps = tuple(rest) + NORM_DEFAULTS[len(rest) :]
            self._call(node, Norm(shape, self._tensor(weight), self._tensor(bias), eps), x)

    def place_maps(self) -> None:
        """Linear maps, those of one input together; a gelu behind one with it, if it is packed."""
        readers: dict[tuple[fx.Node, bool], list[fx.Node]] = defaultdict(list)
        for node in self._stored(LINEAR):
            biased = self._weights(node)[1] is not None
            readers[_read(node)[0], biased].append(node)
        for nodes in readers.values():
            if len(nodes) == 1:
                self._place_map(nodes[0])
            else:
                self._place_together(nodes)

    def _place_map(self, node: fx.Node) -> None:
        weight, *_ = self._weights(node)
        after = next(iter(node.users))
        gelu = None
        if not self.int8 and packs(weight.dtype) and len(node.users) == 1 and after.target is GELU:
            gelu = str(after.kwargs.get("approximate", "none"))
        key = _read(node)[1].target, gelu
        made = self.module(lambda: self._map(*self._weights(node), gelu), *key)
        self._call(node, made, _read(node)[0])
        if gelu is not None:
            after.replace_all_uses_with(_read(after)[0])
            self.graph.erase_node(after)

    def _map(self, weight: Tensor, bias: Tensor | None, gelu: str | None = None) -> nn.Module:
        return QuantizedMap(weight, bias) if self.int8 else one_map(weight, bias, gelu)

    def _place_together(self, nodes: list[fx.Node]) -> None:
        def make() -> Split:
            weights, biases = zip(*map(self._weights, nodes), strict=True)
            bias = torch.cat(biases) if biases[0] is not None else None
            return Split(self._map(torch.cat(weights), bias), [len(one) for one in weights])

        made = self.module(make, *(_read(node)[1].target for node in nodes))
        with self.graph.inserting_before(nodes[0]):
            together = self._called(made, _read(nodes[0])[0])
        for number, node in enumerate(nodes):
            with self.graph.inserting_before(node):
                own = self.graph.call_function(operator.getitem, (together, number))
            node.replace_all_uses_with(own)
            self.graph.erase_node(node)

    def finished(self) -> fx.GraphModule:
        """The graph with the tensors that it still reads."""
        for node in self.graph.nodes:
            if node.op == "get_attr":
                name = f"tensor_{next(self._numbers)}"
                self.root.register_buffer(name, self._tensor(node), persistent=False)
                node.target = name
        self.drop_unused()
        self.graph.lint()
        return fx.GraphModule(self.root, self.graph)

    # Parts

    def _calls(self, target: Any) -> list[fx.Node]:
        return self.graph.find_nodes(op="call_function", target=target)

    def _stored(self, target: Any) -> list[fx.Node]:
        """Operations whose weights are stored; what computes its weights stays as it is."""
        return [
            node
            for node in self._calls(target)
            if all(one.op == "get_attr" for one in node.all_input_nodes[1:])
        ]

    def _call(self, node: fx.Node, made: nn.Module, *read: Any) -> None:
        """Put a module in a node's place."""
        with self.graph.inserting_before(node):
            node.replace_all_uses_with(self._called(made, *read))
        self.graph.erase_node(node)

    def _called(self, made: nn.Module, *read: Any) -> fx.Node:
        name = f"{type(made).__name__.lower()}_{next(self._numbers)}"
        self.root.add_module(name, made)
        return self.graph.call_module(name, read)

    def _weights(self, node: fx.Node) -> tuple[Tensor, Tensor | None]:
        _, weight, *bias = _read(node)
        return self._tensor(weight), self._tensor(bias[0]) if bias else None

    def _tensor(self, node: fx.Node | None) -> Any:
        if node is None:
            return None
        found: Any = self.captured
        for part in str(node.target).split("."):
            found = getattr(found, part)
        return found.detach()


def _outputs(graph: fx.Graph) -> list[fx.Node]:
    """The tensors that a captured graph gives."""
    found: Any = graph.output_node().args[0]
    return list(found)


def _read(node: fx.Node) -> tuple[Any, ...]:
    """What a node reads."""
    return node.args
