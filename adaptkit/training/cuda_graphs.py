"""Training steps as CUDA graphs, one per batch shape.

On short texts a GPU computes a step faster than Python launches its kernels one by one, so it
mostly waits. A CUDA graph holds all launches of a step, recorded once and started by one call. The
first steps of a shape run as usual; then one is recorded, and later batches of that shape are
copied into its inputs. The computation is that of the step itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from adaptkit.utils.processes import log_main

# steps of a shape that run as usual: kernels are chosen, and it becomes known which parameters get
# gradients
WARM_UP = 2

MOST_SHAPES = 64  # maximum number of recorded shapes; others run as usual

Batch = dict[str, Tensor]

Step = Callable[
    [Batch, Tensor], Tensor
]  # (inputs, labels of the optimizer step) -> loss; adds to the gradients

Shape = tuple[tuple[str, torch.Size, torch.dtype], ...]


@dataclass
class StepGraph:
    """One graph with its input tensors and its loss."""

    graph: Any  # torch.cuda.CUDAGraph
    inputs: Batch
    items: Tensor
    loss: Tensor

    def replay(self, inputs: Batch, items: Tensor) -> Tensor:
        """Run a batch and return its loss; gradients are added to those of the recording."""
        for name, place in self.inputs.items():
            place.copy_(inputs[name], non_blocking=True)
        self.items.copy_(items, non_blocking=True)
        self.graph.replay()
        return self.loss.clone()


class StepGraphs:
    """The recorded steps of one training.

    All are recorded again if a parameter is frozen, unfrozen or replaced meanwhile.

    Args:
        parameters: all parameters of the model.
    """

    def __init__(self, parameters: Iterable[nn.Parameter]):
        self._parameters = list(parameters)
        self._stopped = False
        self._begin()

    def _begin(self) -> None:
        self.count = 0
        self._graphs: dict[Shape, StepGraph] = {}
        self._seen: Counter[Shape] = Counter()
        self._gradients: dict[
            nn.Parameter, Tensor
        ] = {}  # where the gradients are, of parameters that get one
        self._state = self._as_they_are()
        self._pool = torch.cuda.graph_pool_handle()  # one for all: only one of them runs at a time

    def _as_they_are(self) -> list[tuple[bool, int]]:
        return [(parameter.requires_grad, parameter.data_ptr()) for parameter in self._parameters]

    def step(self, step: Step, inputs: Batch, items: Tensor) -> Tensor:
        """Run one training step over a batch on the GPU, `(rows, ...)` each, and return its loss.

        Gradients are added to `grad`.
        """
        if self._as_they_are() != self._state:
            self._begin()
        self._attach()
        shape = tuple((name, tensor.shape, tensor.dtype) for name, tensor in sorted(inputs.items()))
        if shape in self._graphs:
            return self._graphs[shape].replay(inputs, items)
        self._seen[shape] += 1
        if self._stopped or self._seen[shape] <= WARM_UP or self.count == MOST_SHAPES:
            return self._as_always(step, inputs, items)
        return self._record(shape, step, inputs, items)

    def _as_always(self, step: Step, inputs: Batch, items: Tensor) -> Tensor:
        loss = step(inputs, items)
        self._gradients |= {p: p.grad for p in self._parameters if p.grad is not None}
        return loss

    def _attach(self) -> None:
        """Put every gradient in its place: existing ones are kept, missing ones become zero."""
        gone = [parameter for parameter in self._gradients if parameter.grad is None]
        if gone:
            torch._foreach_zero_([self._gradients[parameter] for parameter in gone])
        for parameter in gone:
            parameter.grad = self._gradients[parameter]

    def _record(self, shape: Shape, step: Step, inputs: Batch, items: Tensor) -> Tensor:
        stream, graph = torch.cuda.current_stream(), torch.cuda.CUDAGraph()
        read, counted = {name: tensor.clone() for name, tensor in inputs.items()}, items.clone()
        try:
            with torch.cuda.graph(
                graph, pool=self._pool, capture_error_mode="thread_local"
            ):  # other threads load batches
                loss = step(dict(read), counted)
        except RuntimeError as problem:
            torch.cuda.set_stream(stream)
            _take_random_numbers_out_of_recording()
            self._stop(_first_of(problem))
            return self._as_always(step, inputs, items)
        self._graphs[shape] = StepGraph(graph, read, counted, loss)
        self.count += 1
        return self._graphs[shape].replay(inputs, items)

    def _stop(self, problem: BaseException) -> None:
        self._stopped = True
        if not isinstance(problem, Exception):  # Ctrl-C
            raise problem
        log_main(
            "note: steps of this training cannot be recorded as CUDA graphs, and run as always: "
            f"{str(problem).splitlines()[0]}"
        )


def _take_random_numbers_out_of_recording() -> None:
    """Reset torch's random generator after a failed recording.

    Torch leaves the generator in recording mode, so the next dropout fails; a copy of its state is
    not in that mode.
    """
    generator = torch.cuda.default_generators[torch.cuda.current_device()]
    generator.graphsafe_set_state(generator.clone_state())


def _first_of(problem: BaseException) -> BaseException:
    """The first of several errors, each raised while handling the one before: the root cause."""
    while problem.__context__ is not None:
        problem = problem.__context__
    return problem


LAYERDROP = ("layerdrop", "encoder_layerdrop", "decoder_layerdrop")


def why_not_recorded(trainer: Any) -> str | None:
    """The reason why a training's steps cannot be recorded as CUDA graphs, or None."""
    args, options, config = trainer.args, trainer.options, getattr(trainer.model, "config", None)
    reasons = {
        "it was not asked for": not options.cuda_graphs,
        "there is no GPU": args.device.type != "cuda",
        "several processes or GPUs share a step": args.world_size > 1 or args.n_gpu > 1,
        "FSDP or DeepSpeed drives the step": trainer.is_fsdp_enabled
        or trainer.is_deepspeed_enabled,
        "the model is compiled": args.torch_compile,
        "fp16 scales the loss": args.fp16,
        "gradient checkpoints keep the state of random numbers": args.gradient_checkpointing,
        "memory is given back between steps": args.torch_empty_cache_steps is not None,
        "the model lies on several devices": trainer.is_model_parallel,
        "the optimizer steps in the backward pass": "lomo" in args.optim
        or "layerwise" in args.optim,
        "layers are left out by chance": any(getattr(config, name, 0) for name in LAYERDROP),
        "the activation cache looks texts up": options.activation_cache is not None,
        "a step is two, one of them against the loss": options.adversarial_epsilon > 0,
        "what trains changes with the epoch": options.gradual_unfreezing,
        "batches have any number of rows": options.max_tokens_per_batch is not None,
        "two lengths make too many shapes": getattr(config, "is_encoder_decoder", False),
        "the base is quantized": getattr(config, "quantization_config", None) is not None,
        "batches of one shape are not all trained on alike": not (
            trainer.recordable and trainer.task.recordable
        ),
    }
    return next((reason for reason, holds in reasons.items() if holds), None)
