"""Mix weights: a network starts from `beta * source + (1 - beta) * target`, tensor by tensor.

The source may be deeper or shallower, and of another architecture of the same widths: inside layers
tensors are matched by layer and site, norms of different architectures by their order, the rest by
name. A wider source only contributes its embedding tables, by truncated SVD
(`adaptkit.transfer.widths`). Several sources count as their mean: fine-tuned models of one base
mixed evenly are a soup (Wortsman et al. 2022, arXiv:2203.05482); every other layer of a teacher is
the initialization of DistilBERT (Sanh et al. 2019, arXiv:1910.01108).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from adaptkit.adapters.files import all_finite
from adaptkit.errors import AdaptkitError
from adaptkit.models.backbone import backbone_of
from adaptkit.models.find_sites import layer_paths
from adaptkit.models.layer_map import layer_map
from adaptkit.transfer.widths import basis_between, share_kept, tables_behind


@dataclass(frozen=True)
class Mixed:
    """`mapped`: target parameter -> source parameter; `left`: unmatched target parameters.

    narrowed: mapped parameters that were wider in the source -> the share of their squares that
    truncated SVD kept.
    """

    mapped: dict[str, str]
    left: list[str]
    narrowed: dict[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        text = f"{len(self.mapped)} tensors mixed"
        if self.narrowed:
            each = ", ".join(
                f"{name} ({share:.0%} of its squares kept)" for name, share in self.narrowed.items()
            )
            text += f"; approximate, by truncated SVD: {each}"
        return text + (f"; left as they were: {_first(self.left)}" if self.left else "")


@torch.no_grad()
def mix(
    target: nn.Module,
    source: nn.Module | Sequence[nn.Module],
    beta: float = 0.5,
    layers: str | Sequence[int] = "every",
    leave: bool = False,
) -> Mixed:
    """Mix the weights of a source into a target, in place.

    Args:
        target, source: transformers models, bare or with a head; several sources count as their
            mean.
        beta: the source's share, 0 to 1. At 0 the target is unchanged, at 1 it gets the source's
            weights exactly (except for narrowed tables).
        layers: which layer of the source each layer of the target takes: `every` (evenly spaced,
            including the last), `first`, `last`, or indices from 0.
        leave: leave unmatched parameters of the target as they are; otherwise they are refused.

    Raises:
        AdaptkitError: a parameter, or every one, has no counterpart, beta is out of range, layers
            do not exist, there is no source, or wider sources have several widths. The target is
            unchanged then.
    """
    if not 0 <= beta <= 1:
        raise AdaptkitError(f"beta is a share from 0 to 1, not {beta}.")
    sources = [source] if isinstance(source, nn.Module) else list(source)
    if not sources:
        raise AdaptkitError("mixing wants a source; it got none.")
    for model in (target, *sources):
        _check_numbers(model)
    basis = basis_between(sources, target)
    values = [named_weights(one) if basis is None else tables_behind(basis, one) for one in sources]
    pairs = [
        _pairs(target, one, tensors, layers) for one, tensors in zip(sources, values, strict=True)
    ]
    own = named_weights(target)
    left = [name for name in own if any(name not in found for found in pairs)]
    if left and not leave:
        raise AdaptkitError(
            f"{len(left)} tensors of the target have no counterpart of their shape in the "
            f"source: {_first(left)}. "
            "Leave them as they are with leave=True (--leave_unmapped)."
        )
    if len(left) == len(own):
        raise AdaptkitError(
            f"no tensor of the target has a counterpart of its shape in the source: {_first(left)}."
        )
    for name, parameter in own.items():
        if name not in left:
            given = [
                held[found[name]].to(parameter.device, torch.float32)
                for held, found in zip(values, pairs, strict=True)
            ]
            mean = given[0] if len(given) == 1 else torch.stack(given).mean(0)
            parameter.copy_(torch.lerp(parameter.float(), mean, beta))
    mapped = {name: pairs[0][name] for name in own if name not in left}
    wide = {} if basis is None else named_weights(sources[0])
    return Mixed(
        mapped,
        left,
        {
            name: share_kept(wide[twin], values[0][twin])
            for name, twin in mapped.items()
            if twin in wide
        },
    )


def _check_numbers(model: nn.Module) -> None:
    """Refuse weights that are not finite: the mixture would have them, too."""
    for name, weight in named_weights(model).items():
        if not all_finite(weight):
            raise AdaptkitError(f"{name} of {type(model).__name__} holds NaN or infinity.")


def named_weights(model: nn.Module) -> dict[str, Tensor]:
    """Each parameter once, and saved numeric buffers, such as Marian's bias of its logits."""
    saved = model.state_dict().keys()
    buffers = {
        name: buffer
        for name, buffer in model.named_buffers()
        if name in saved and buffer.is_floating_point()
    }
    return dict(model.named_parameters()) | buffers


def _first(names: list[str], count: int = 6) -> str:
    """The first names, and how many there are."""
    return ", ".join(names[:count]) + (
        f", ... ({len(names)} of them)" if len(names) > count else ""
    )


def _pairs(
    target: nn.Module, source: nn.Module, tensors: dict[str, Tensor], layers: str | Sequence[int]
) -> dict[str, str]:
    """Target parameter -> source parameter of the same place and shape.

    `tensors`: the source's parameters, as they are mixed.
    """
    alike = target.config.model_type == source.config.model_type
    wanted, given, own = _places(target, alike), _places(source, alike), named_weights(target)
    depths = [[len(paths) for _, paths in layer_paths(model)] for model in (target, source)]
    if len(depths[0]) != len(depths[1]):
        raise AdaptkitError(
            f"{type(source).__name__} and {type(target).__name__} do not have the same stacks of "
            "layers."
        )
    maps = [layer_map(layers, deep, shallow) for shallow, deep in zip(*depths, strict=True)]
    only = _in_one_layer(given)
    found: dict[str, str] = {}
    for place, name in wanted.items():
        stack, layer, inside = place
        twin = given.get(
            (stack, maps[stack][layer] if stack >= 0 else layer, inside), only.get((stack, inside))
        )
        if twin in tensors and tensors[twin].shape == own[name].shape:
            found[name] = twin
    alone = {
        name.removesuffix("weight") + "bias"
        for name in set(wanted.values()) - found.keys()
        if name.endswith(".weight")
    }
    return {
        name: twin for name, twin in found.items() if name not in alone
    }  # a bias goes with its map


def _in_one_layer(places: dict[tuple[int, int, str], str]) -> dict[tuple[int, str], str]:
    """What a stack's first layer holds for all, as T5's position bias: (stack, inside) -> name."""
    counts = Counter((stack, inside) for stack, _, inside in places)
    alone = {place: name for place, name in places.items() if counts[place[0], place[2]] == 1}
    return {
        (stack, inside): name
        for (stack, layer, inside), name in alone.items()
        if stack >= 0 and layer == 0
    }


def _places(model: Any, alike: bool) -> dict[tuple[int, int, str], str]:
    """(stack, layer, site or inner name) -> parameter name; stack -1 outside the layers.

    alike: norms go by their names.
    """
    _, prefix = backbone_of(model)
    modules = dict(model.named_modules())
    inside: dict[
        str, tuple[int, int, str]
    ] = {}  # a module of a layer -> stack, layer, its name here
    for index, (stack, paths) in enumerate(layer_paths(model)):
        sites = {path: site for site, path in stack.maps.items() if ":" not in path}
        for layer, path in enumerate(paths):
            root = f"{prefix}{path}"
            norms = 0
            for name, module in modules[root].named_modules(prefix=root):
                called = sites.get(name.removeprefix(f"{root}."), name.removeprefix(root))
                if "Norm" in type(module).__name__ and not alike:
                    # they have another function before and after a block
                    called = f"{'post' if stack.norm else 'pre'}-norm {norms}"
                    norms += 1
                inside[name] = (index, layer, called)
    embeddings = getattr(
        model.get_input_embeddings(), "weight", None
    )  # image embeddings are of another kind
    places = {}
    for name, parameter in named_weights(model).items():
        module, _, kind = name.rpartition(".")
        if module in inside:
            *place, called = inside[module]
            places[place[0], place[1], f"{called}.{kind}"] = name
        else:
            places[
                -1, 0, "embeddings" if parameter is embeddings else name.removeprefix(prefix)
            ] = name
    return places
