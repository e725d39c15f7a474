"""The change that an adapter makes at each linear map, as two factors.

Methods of a union add up, so their factors stand side by side.
"""

from __future__ import annotations

from collections import defaultdict

import peft
import torch
from torch import Tensor

from adaptkit.adapters.files import AdapterFiles
from adaptkit.adapters.layer import AdaptLayer
from adaptkit.adapters.peft_files.read_lora import beyond_plain, read_peft_lora
from adaptkit.errors import AdaptkitError
from adaptkit.methods.base import Method
from adaptkit.methods.grammar import parse_method
from adaptkit.models.find_sites import find_sites
from adaptkit.models.sites import Site

Factors = dict[Site, tuple[Tensor, Tensor]]  # A (r, in) and B (out, r) of a change B A

INSTEAD = "Serve it as it is, or train a LoRA."


def check_linear(files: AdapterFiles) -> None:
    """Refuse adapters that cannot be a LoRA, as far as their card and settings tell.

    Raises:
        AdaptkitError: there is no card, or the method is none that adds linear maps.
    """
    card = files.card
    if card is None or not card.method:
        raise AdaptkitError(f"{files.folder} has no task card: shrink adapters made by adaptkit.")
    if not files.is_ours:
        kind = files.settings.get("peft_type")
        if kind != "LORA":
            raise AdaptkitError(
                f"{files.folder} is {card.method}: of PEFT's own methods, shrink takes LoRA. "
                f"{INSTEAD}"
            )
        if more := beyond_plain(files.settings):
            raise AdaptkitError(
                f"{files.folder} is LoRA with {', '.join(more)}, which is more than two factors. "
                f"{INSTEAD}"
            )
        return
    for method in parse_method(card.method):
        if not method.affine:
            raise _not_linear(files, method, "is no linear change of the base's maps")


def factors_of(files: AdapterFiles, model: peft.PeftModel) -> Factors:
    """The factors of an adapter at each site that it changes, in fp64.

    Args:
        model: with the adapter loaded.

    Raises:
        AdaptkitError: the adapter changes something else as well.
    """
    return _of_ours(files, model) if files.is_ours else _of_peft(files, model)


def _of_ours(files: AdapterFiles, model: peft.PeftModel) -> Factors:
    found: dict[Site, list[tuple[Tensor, Tensor]]] = defaultdict(list)
    for layer in (one for one in model.modules() if isinstance(one, AdaptLayer)):
        for attachment, weights in layer.attached("map"):
            method, site = attachment.method, attachment.site
            p = {name: weight.detach() for name, weight in weights(torch.float64).items()}
            pair = method.factors(p, site) or _evaluated(method, p, site)
            if pair is None:
                raise _not_linear(files, method, "does more than add a linear map of the input")
            found[site].append(pair)
    return {
        site: (torch.cat([a for a, _ in pairs]), torch.cat([b for _, b in pairs], 1))
        for site, pairs in found.items()
    }


def _of_peft(files: AdapterFiles, model: peft.PeftModel) -> Factors:
    maps = [site for site in find_sites(model.get_base_model()) if site.kind == "map"]
    tensors = {name: tensor.double() for name, tensor in files.tensors().items()}
    read = read_peft_lora(files.settings, tensors, maps)
    if read.deltas:
        raise AdaptkitError(
            f"{files.folder} changes {min(read.deltas)}, which is no linear map of a layer. "
            f"{INSTEAD}"
        )
    return dict(read.weights)


@torch.no_grad()
def _evaluated(method: Method, p: dict[str, Tensor], site: Site) -> tuple[Tensor, Tensor] | None:
    """The factors of a formula that names none: the identity, and its values at the unit vectors.

    None if it is not y plus a linear map of x: at x = 0 it should leave y as it is.
    """
    one = next(iter(p.values()))
    unit = torch.eye(site.width_in, dtype=one.dtype, device=one.device)
    nothing = unit.new_zeros(site.width_in, site.width_out)
    y = torch.linspace(-1, 1, nothing.numel(), dtype=one.dtype, device=one.device)
    y = y.view(nothing.shape)
    if not torch.equal(method.apply(p, torch.zeros_like(unit), y), y):
        return None
    return unit, method.apply(p, unit, nothing).mT


def _not_linear(files: AdapterFiles, method: Method, why: str) -> AdaptkitError:
    merged = " adaptkit export merges it into the base." if method.affine else ""
    return AdaptkitError(f"{files.folder} cannot be a LoRA: {method} {why}.{merged} {INSTEAD}")
