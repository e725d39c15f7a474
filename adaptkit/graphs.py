"""A training step as one CUDA graph for each shape of batch.

A GPU computes a step over short texts in less time than Python takes to launch its kernels one by one, so it mostly waits. A CUDA
graph is all launches of a step, recorded once and started by one call. The first steps of a shape run as always; then one is
recorded, and later batches of that shape are copied to where it reads. What is computed is what the step itself computes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from adaptkit.launch import say

USUAL = 2  # steps of a shape that run as always: kernels are chosen, and it shows which parameters get gradients
MOST = 64  # shapes that are recorded; others run as always

Batch = dict[str, Tensor]
Step = Callable[[Batch, Tensor], Tensor]  # (inputs, labels of the optimizer step) -> loss; adds to the gradients
Shape = tuple[tuple[str, torch.Size, torch.dtype], ...]


@dataclass
class Recorded:
    """One graph, where it reads, and where it leaves the loss."""

    graph: Any  # torch.cuda.CUDAGraph
    inputs: Batch
    items: Tensor
    loss: Tensor

    def replay(self, inputs: Batch, items: Tensor) -> Tensor:
        """The loss of a batch; the gradients are added where they were when the graph was recorded."""
        for name, place in self.inputs.items():
            place.copy_(inputs[name], non_blocking=True)
        self.items.copy_(items, non_blocking=True)
        self.graph.replay()
        return self.loss.clone()


class StepGraphs:
    """The recorded steps of one training.

    Args:
        parameters: all that may get gradients. Neither they nor their data may be replaced while graphs are used.
    """

    def __init__(self, parameters: Iterable[nn.Parameter]):
        self._parameters = [parameter for parameter in parameters if parameter.requires_grad]
        self._gradients: dict[nn.Parameter, Tensor] = {}  # of those that get one: where the graphs add to it
        self._recorded: dict[Shape, Recorded] = {}
        self._seen: Counter[Shape] = Counter()
        self._pool = torch.cuda.graph_pool_handle()  # one for all: only one of them runs at a time
        self._stopped = False

    def __len__(self) -> int:
        return len(self._recorded)

    def step(self, step: Step, inputs: Batch, items: Tensor) -> Tensor:
        """One training step over a batch on the GPU, `(rows, ...)` each: its loss. Gradients are added to `grad`."""
        shape = tuple((name, tensor.shape, tensor.dtype) for name, tensor in sorted(inputs.items()))
        if shape in self._recorded:
            self._attach()
            return self._recorded[shape].replay(inputs, items)
        self._seen[shape] += 1
        if self._stopped or self._seen[shape] <= USUAL or len(self._recorded) == MOST:
            loss = step(inputs, items)
            self._learn()
            return loss
        return self._record(shape, step, inputs, items)

    def _learn(self) -> None:
        """Have a place for every gradient that there is."""
        for parameter in self._parameters:
            if parameter.grad is not None and parameter not in self._gradients:
                self._gradients[parameter] = torch.zeros_like(parameter.grad)

    def _attach(self) -> None:
        """Let every gradient lie in its place: what there is is kept, what there is not is zero."""
        fresh = []
        for parameter, place in self._gradients.items():
            if parameter.grad is None:
                fresh.append(place)
            elif parameter.grad is not place:
                place.copy_(parameter.grad)
            parameter.grad = place
        if fresh:
            torch._foreach_zero_(fresh)

    def _record(self, shape: Shape, step: Step, inputs: Batch, items: Tensor) -> Tensor:
        self._attach()
        stream = torch.cuda.current_stream()
        graph = torch.cuda.CUDAGraph()
        read, counted = {name: tensor.clone() for name, tensor in inputs.items()}, items.clone()
        try:
            with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):  # other threads load batches
                loss = step(dict(read), counted)
        except RuntimeError as problem:
            torch.cuda.set_stream(stream)
            self._stop(problem)
            return step(inputs, items)
        self._recorded[shape] = Recorded(graph, read, counted, loss)
        return self._recorded[shape].replay(inputs, items)

    def _stop(self, problem: RuntimeError) -> None:
        """Go on without graphs: torch's random numbers leave the recording, which has failed."""
        self._stopped = True
        generator = torch.cuda.default_generators[torch.cuda.current_device()]
        generator.graphsafe_set_state(generator.clone_state())
        while isinstance(problem.__context__, RuntimeError):  # what came first says why
            problem = problem.__context__
        say(f"note: steps of this training cannot be recorded as CUDA graphs, and run as always: {str(problem).splitlines()[0]}")
