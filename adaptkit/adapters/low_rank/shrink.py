"""Shrink a stored adapter: any change that is linear in the input becomes a LoRA of lower rank.

Training with a large rank and cutting it off afterwards can be better than training with a small
one. At each map, the change is decomposed and its largest singular values are kept.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from pathlib import Path

import peft
import torch
from torch import nn

from adaptkit.adapters.attachments import Attachment
from adaptkit.adapters.card import WEIGHTS
from adaptkit.adapters.files import AdapterFiles, read_adapter
from adaptkit.adapters.inject import adapt
from adaptkit.adapters.low_rank.factors import check_linear, factors_of
from adaptkit.adapters.low_rank.svd import Decomposed, decompose
from adaptkit.adapters.peft_lora import PREFIX
from adaptkit.adapters.save_load import load_adapter, save_adapter
from adaptkit.adapters.tensors import adapter_tensors
from adaptkit.errors import AdaptkitError
from adaptkit.methods.grammar import parse_method
from adaptkit.methods.lora import LARGEST_RANK, LoRA
from adaptkit.models.find_sites import find_sites
from adaptkit.models.sites import Site
from adaptkit.utils.output_folder import check_empty

VARIANCE = 0.95  # the share that is kept if nothing is said

_FACTOR = re.compile(r"\.(adaptkit_weights|lora_[AB])\.")  # in the names of tensors on disk


@dataclass(frozen=True)
class Shrunk:
    """What an adapter was and is.

    before: the largest rank of a map's change; after: the rank of all. share: of the variance, as
    it was asked for; wanted: the rank that each map needs for it; kept: the share that it has. Both
    by map, such as `bert.encoder.layer.0.attention.self.query attn.q`. bytes: of the weights,
    before and after.
    """

    before: int
    after: int
    share: float
    wanted: dict[str, int]
    kept: dict[str, float]
    bytes: tuple[int, int]


def shrink(
    folder: str | Path,
    output_dir: str | Path,
    rank: int | None = None,
    variance: float | None = None,
) -> Shrunk:
    """Write an adapter as a LoRA of lower rank, with the same head and the same card.

    Its maps have one rank: the smallest with which every map keeps its share of the variance (the
    squared singular values of its change), but at most `rank`. The scores are left out of the card:
    they are those of the adapter before.

    Args:
        folder: an adapter of LoRA, MiSS, VeRA, or another method or union that adds a linear map of
            the input.
        rank: the largest rank.
        variance: the share to keep, above 0 and up to 1. The default is 1 with a rank, else 0.95.

    Raises:
        AdaptkitError: the folder holds no such adapter, a number is out of bounds, or `output_dir`
            is not empty.
    """
    if rank is not None and not 1 <= rank <= LARGEST_RANK:
        raise AdaptkitError(f"rank is 1 or more and up to {LARGEST_RANK:,}; it got {rank}.")
    if variance is not None and not 0 < variance <= 1:
        raise AdaptkitError(f"variance is a share above 0 and up to 1; it got {variance}.")
    share = variance if variance is not None else VARIANCE if rank is None else 1.0
    check_empty(output_dir)
    files = read_adapter(folder)
    check_linear(files)
    model = load_adapter(folder)
    found = {site: decompose(*pair) for site, pair in factors_of(files, model).items()}
    wanted = {site: one.rank_for(share) for site, one in found.items()}
    most = max(1, *wanted.values())
    chosen = most if rank is None else min(rank, most)
    _write(files, model, found, chosen, output_dir)
    return Shrunk(
        before=max(len(one.values) for one in found.values()),
        after=chosen,
        share=share,
        wanted={_path(site): one for site, one in wanted.items()},
        kept={_path(site): one.kept(chosen) for site, one in found.items()},
        bytes=(len(files.content or b""), (Path(output_dir) / WEIGHTS).stat().st_size),
    )


def _path(site: Site) -> str:
    return f"{site.module} {site.name}"


@torch.no_grad()
def _write(
    files: AdapterFiles,
    loaded: peft.PeftModel,
    found: dict[Site, Decomposed],
    rank: int,
    output_dir: str | Path,
) -> None:
    """Save the LoRA of this rank, with the head of the loaded adapter."""
    head = _head(loaded)
    base = loaded.unload()
    lora = _lora(files, base, set(found), rank)
    model = adapt(base, lora, head=head)
    weights = files.tensors()
    slots = adapter_tensors(model, model.active_adapter)
    if more := [key for key in weights if key not in slots and not _FACTOR.search(key)]:
        raise AdaptkitError(f"{files.folder} also holds {more[0]}, which is no part of a LoRA.")
    for site in lora.place(find_sites(base)):
        at = Attachment(lora, site)
        start = f"{PREFIX}{site.module}.adaptkit_weights."
        pair = found[site].factors(rank) if site in found else _zeros(lora, site)
        weights |= {start + at.weight_name(name): one for name, one in zip("AB", pair, strict=True)}
    for key, slot in slots.items():
        slot.copy_(weights[key])
    assert files.card is not None  # checked
    save_adapter(model, output_dir, card=dataclasses.replace(files.card, metrics={}, stopped=None))


def _head(model: peft.PeftModel) -> list[str]:
    """The paths of the modules that an adapter holds in full."""
    return [
        path
        for path, module in model.get_base_model().named_modules()
        if model.active_adapter in getattr(module, "modules_to_save", ())
    ]


def _zeros(lora: LoRA, site: Site) -> list[torch.Tensor]:
    return [torch.zeros(one.shape) for one in lora.spec(site).values()]


def _lora(files: AdapterFiles, base: nn.Module, changed: set[Site], rank: int) -> LoRA:
    """The LoRA at all the sites that change, and at no more than the grammar can leave out."""
    method = files.card.method if files.card is not None and files.is_ours else None
    union = parse_method(method) if method else ()
    if len(union) == 1 and type(union[0]) is LoRA:
        return dataclasses.replace(union[0], r=rank, alpha=float(rank), rslora=False)
    names = {site.name for site in changed}
    whole = [site for site in find_sites(base) if site.kind == "map" and site.name in names]
    layers = {site.layer for site in changed}
    lora = LoRA(r=rank, alpha=float(rank), sites=tuple(sorted(names)))
    if layers == {site.layer for site in whole} or max(layers) >= min(one.depth for one in whole):
        return lora
    return dataclasses.replace(lora, layers="|".join(map(str, sorted(layers))))
