"""What a model's code does, found out by running it on a few tokens: class names do not tell.

Every such trial is in this file. Each leaves the model as it was.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from adaptkit.errors import AdaptkitError
from adaptkit.models.backbone import backbone_of
from adaptkit.models.language.head import labelled_places, token_logits


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """The model in evaluation mode while the block runs."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


@contextmanager
def _hooked(handles: Iterable[Any]) -> Iterator[None]:
    handles = list(handles)
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


# The order of calls


@torch.no_grad()
def modules_called(model: Any) -> list[str]:
    """The paths of a model's modules in the order in which its backbone calls them.

    It is not always the order in which they are registered. The model reads token ids.
    """
    backbone, _ = backbone_of(model)
    called: list[str] = []

    def note(path: str) -> Callable[..., None]:
        return lambda *_: called.append(path)

    ids = torch.arange(3, 7, device=next(model.parameters()).device)[None]
    decoder = {"decoder_input_ids": ids} if model.config.is_encoder_decoder else {}
    modules = [(path, module) for path, module in model.named_modules() if path]
    hooks = (module.register_forward_pre_hook(note(path)) for path, module in modules)
    with evaluating(model), _hooked(hooks):
        backbone(input_ids=ids, **decoder)
    return called


def parameters_called_after(model: Any, layer: str) -> set[str]:
    """The names of the parameters that are first used behind a layer: norms, poolers, the head.

    Args:
        layer: path of the last layer of a model that reads token ids.
    """
    _, prefix = backbone_of(model)
    called = modules_called(model)
    start = max(i for i, path in enumerate(called) if f"{path}.".startswith(f"{layer}."))
    later = {*called[start + 1 :]} - {*called[: start + 1]}
    names = [name for name, _ in model.named_parameters()]
    outside = {name for name in names if prefix and not name.startswith(prefix)}
    return outside | {name for name in names if name.rpartition(".")[0] in later}


# Which tokens are read


def tokens_read(layer: nn.Module, outcome: Callable[[], Tensor]) -> Tensor | None:
    """Which tokens of a layer's output an outcome depends on, `(rows, tokens)` of truth values.

    Args:
        outcome: runs the model and returns what is read of it, a loss for one.

    Returns:
        None if it cannot be told: the layer runs several times, or the outcome has no gradient.
    """
    leaves: list[Tensor] = []

    def as_leaf(module: nn.Module, args: tuple, output: Any) -> Any:
        states = output[0] if isinstance(output, tuple) else output
        leaves.append(states.detach().requires_grad_())
        return (leaves[-1], *output[1:]) if isinstance(output, tuple) else leaves[-1]

    with _hooked([layer.register_forward_hook(as_leaf)]), torch.enable_grad():
        made = outcome()
    if len(leaves) != 1 or not made.requires_grad:
        return None
    (gradient,) = torch.autograd.grad(made, leaves, allow_unused=True)
    return None if gradient is None or gradient.dim() != 3 else (gradient != 0).any(-1)


class HeadInput:
    """What the fresh head of a task model reads of each row, `(rows, width)`.

    BERT hands on the pooled first token, RoBERTa the first token, Llama the last one. If the head
    gets the states of all tokens, a gradient tells which it looks at; of several it is the mean.

    Args:
        model: from `load_base`, with a new head.

    Raises:
        AdaptkitError: when called: the head depends on no token.
    """

    def __init__(self, model: Any):
        self.model = model
        self._new = [model.get_submodule(path) for path in model.adaptkit_base.head]

    def __call__(self, inputs: dict[str, Tensor]) -> Tensor:
        first: list[Tensor] = []

        def as_leaf(module: nn.Module, args: tuple) -> tuple | None:
            if first:
                return None
            first.append(args[0].detach().requires_grad_())
            return (first[0], *args[1:])

        hooks = (module.register_forward_pre_hook(as_leaf) for module in self._new)
        with _hooked(hooks), torch.enable_grad():
            scores = self.model(**inputs).logits
        states = first[0]
        if states.dim() == 2:
            return states.detach().float()
        (gradient,) = torch.autograd.grad(scores.sum(), states)
        read = (gradient != 0).any(-1, keepdim=True)
        if not read.any(1).all():
            name = type(self.model).__name__
            raise AdaptkitError(f"the new head of this {name} depends on no token of some rows.")
        return ((states * read).sum(1) / read.sum(1)).detach().float()


# The network below a head

_networks: weakref.WeakKeyDictionary[nn.Module, str | None] = weakref.WeakKeyDictionary()


def network_below_head(model: Any) -> nn.Module | None:
    """The module whose states a language model's head reads, each token by itself.

    Its path is looked for once a model. None if the head cannot run without the network.
    """
    if model not in _networks:
        below = (model.get_decoder(), backbone_of(model)[0])
        found = (one for one in below if one is not model and _head_runs_alone(model, one))
        network = next(found, None)
        paths = (path for path, module in model.named_modules() if module is network)
        _networks[model] = next(paths, None)
    path = _networks[model]
    return None if path is None else model.get_submodule(path)


# What a head raises that cannot do with states alone, or reads other ones.
_NOT_ALONE = (
    AdaptkitError,
    AttributeError,
    AssertionError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)


@torch.no_grad()
def _head_runs_alone(model: Any, network: nn.Module) -> bool:
    """Whether a model's head gives the same logits of some tokens as the whole model."""
    device = next(model.parameters()).device
    vocabulary = model.config.get_text_config().vocab_size
    ids = (torch.arange(3, 19, device=device) % vocabulary).view(2, 8)
    decoder = {"decoder_input_ids": ids.flip(1)} if model.config.is_encoder_decoder else {}
    labels = torch.full_like(ids, -100).index_fill(1, torch.tensor([1, 6], device=device), 0)

    def run() -> Any:
        return model(input_ids=ids, attention_mask=torch.ones_like(ids), **decoder)

    try:
        with evaluating(model):
            plain = run().logits[labels == 0].float()
            tokens = token_logits(model, network, run, labels, labelled_places(labels))
            alone = torch.cat(tokens.each(lambda logits, labels, places: logits.float()))
    except _NOT_ALONE:
        return False
    near = 1e-3 * float(plain.abs().max())
    return plain.shape == alone.shape and torch.allclose(plain, alone, rtol=1e-2, atol=near)


# Changes that must not show


def packing_leaks(model: Any) -> bool:
    """Whether a packed conversation sees the one before it."""
    device = next(model.parameters()).device
    one, two = [5, 6, 7, 8], [9, 6, 5]
    positions = torch.tensor([[0, 1, 2, 3, 0, 1, 2]], device=device)

    def second(first: list[int]) -> Tensor:
        ids = torch.tensor([first + two], device=device)
        logits = model(input_ids=ids, position_ids=positions, use_cache=False).logits
        return logits[0, len(one) :].float()

    try:
        with evaluating(model), torch.no_grad():
            plain, changed = second(one), second(one[::-1])
    except TypeError:  # it takes no positions
        return True
    return not torch.allclose(plain, changed, atol=1e-3 * float(plain.abs().max()))


def check_packing(model: Any) -> None:
    """Refuse a model in which packed conversations would see each other.

    Raises:
        AdaptkitError: they would.
    """
    if packing_leaks(model):
        raise AdaptkitError(
            f"--packing: conversations would see each other in a {model.config.model_type} with "
            "this method; train without it."
        )


@contextmanager
def _moved(parameters: list[nn.Parameter]) -> Iterator[None]:
    """Parameters moved a little while the block runs, as training would move them."""
    before = [parameter.data for parameter in parameters]
    for parameter in parameters:
        parameter.data = parameter.data + 0.1 * torch.ones_like(parameter.data).cumsum(-1).sin()
    try:
        yield
    finally:
        for parameter, data in zip(parameters, before, strict=True):
            parameter.data = data


@torch.no_grad()
def outputs_stay(model: Any, change: Any, moving: list[nn.Parameter]) -> bool:
    """Whether a model's outputs stay the same while a change is in place (`with change:`).

    They are compared on the first pass, on a second one over the same tokens, and after
    parameters have moved, as they do in training.

    Args:
        moving: parameters that train.
    """
    parameters = [*model.parameters()]
    device, halves = parameters[0].device, (torch.float16, torch.bfloat16)
    half = next((p.dtype for p in parameters if not p.requires_grad and p.dtype in halves), None)
    ids = torch.arange(16, device=device).view(2, 8)
    mask = torch.ones_like(ids)
    mask[1, 6:] = 0

    def output() -> Tensor:
        return model(input_ids=ids, attention_mask=mask)[0][mask.bool()]

    # what trains may be in fp32
    with evaluating(model), torch.autocast(device.type, half, enabled=half is not None):
        plain = output()
        with change:
            pairs = [(plain, output()), (plain, output())]
            with _moved(moving):
                later = output()
        with _moved(moving):
            pairs.append((output(), later))
    return all(torch.allclose(one, other, rtol=1e-2, atol=1e-3) for one, other in pairs)
