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
from adaptkit.adapters.low_rank.model_card import write_shrunk_card
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
    it was asked for; wanted: the rank that each map needs for it, 0 where nothing changes; kept:
    the share that it has. Both by map, such as `bert.encoder.layer.0.attention.self.query attn.q`.
    bytes: of the weights, before and after.
    """

    before: int
    after: int
    share: float
    wanted: dict[str, int]
    kept: dict[str, float]
    bytes: tuple[int, int]

    @property
    def changes_nothing(self) -> bool:
        """True if the change is zero at every map: then its head is all that an adapter has."""
        return not any(self.wanted.values())


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
        AdaptkitError: the folder holds no such adapter, a number is out of bounds, `output_dir` is
            not empty, or the LoRA would be larger while neither `rank` nor `variance` is given.
    """
    check_empty(output_dir)
    return plan(folder, rank, variance).write(output_dir)


def plan(
    folder: str | Path, rank: int | None = None, variance: float | None = None
) -> ShrinkingPlan:
    """What `shrink` will write, with the same arguments and errors."""
    if rank is not None and not 1 <= rank <= LARGEST_RANK:
        raise AdaptkitError(f"rank is 1 or more and up to {LARGEST_RANK:,}; it got {rank}.")
    if variance is not None and not 0 < variance <= 1:
        raise AdaptkitError(f"variance is a share above 0 and up to 1; it got {variance}.")
    share = variance if variance is not None else VARIANCE if rank is None else 1.0
    files = read_adapter(folder)
    check_linear(files)
    model = load_adapter(folder)
    found = {site: decompose(*pair) for site, pair in factors_of(files, model).items()}
    most = max(1, *(one.rank_for(share) for one in found.values()))
    chosen = most if rank is None else min(rank, most)
    lora = _lora(files, model.get_base_model(), set(found), chosen)
    planned = ShrinkingPlan(files, model, found, lora, share)
    if rank is None and variance is None and planned.grows:
        raise AdaptkitError(_larger(planned))
    return planned


@dataclass(frozen=True)
class ShrinkingPlan:
    """A loaded adapter, its decomposed changes, and the LoRA that it will be."""

    files: AdapterFiles
    model: peft.PeftModel
    found: dict[Site, Decomposed]
    lora: LoRA
    share: float

    @property
    def bytes(self) -> tuple[int, int]:
        """Of the weights, before and after; what a file says of its tensors is not counted."""
        return len(self.files.content or b""), self.bytes_of_rank(self.lora.r)

    @property
    def grows(self) -> bool:
        """True if the LoRA will be larger than the adapter."""
        before, after = self.bytes
        return after > before

    def bytes_of_rank(self, rank: int) -> int:
        """Of a LoRA of this rank at the same maps, with the head."""
        sites = self.lora.place(find_sites(self.model.get_base_model()))
        head = [one for key, one in self.files.tensors().items() if not _FACTOR.search(key)]
        widths = sum(site.width_in + site.width_out for site in sites)
        return 4 * rank * widths + sum(one.nbytes for one in head)

    def write(self, output_dir: str | Path) -> Shrunk:
        """Write the LoRA, and a README; the adapter in `model` is taken out."""
        _write(self.files, self.model, self.found, self.lora, output_dir)
        written = Shrunk(
            before=max(len(one.values) for one in self.found.values()),
            after=self.lora.r,
            share=self.share,
            wanted={_path(site): one.rank_for(self.share) for site, one in self.found.items()},
            kept={_path(site): one.kept(self.lora.r) for site, one in self.found.items()},
            bytes=(self.bytes[0], (Path(output_dir) / WEIGHTS).stat().st_size),
        )
        assert self.files.card is not None  # checked
        write_shrunk_card(Path(output_dir), self.files.folder, self.files.card, written)
        return written


def _larger(planned: ShrinkingPlan) -> str:
    """That shrinking would make an adapter larger, and what to do instead."""
    before, after = planned.bytes
    card = planned.files.card
    assert card is not None  # checked
    return (
        f"{planned.files.folder} would grow: it is {card.method} in {before / 1000:,.0f} kB, and a "
        f"LoRA with {planned.share:g} of its variance has rank {planned.lora.r} and "
        f"{after / 1000:,.0f} kB (rank 1: {planned.bytes_of_rank(1) / 1000:,.0f} kB). Keep it as "
        "it is, or, for a LoRA all the same, give --rank or --variance."
    )


def _path(site: Site) -> str:
    return f"{site.module} {site.name}"


@torch.no_grad()
def _write(
    files: AdapterFiles,
    loaded: peft.PeftModel,
    found: dict[Site, Decomposed],
    lora: LoRA,
    output_dir: str | Path,
) -> None:
    """Save the LoRA, with the head of the loaded adapter."""
    head = _head(loaded)
    base = loaded.unload()
    model = adapt(base, lora, head=head)
    weights = files.tensors()
    slots = adapter_tensors(model, model.active_adapter)
    if more := [key for key in weights if key not in slots and not _FACTOR.search(key)]:
        raise AdaptkitError(f"{files.folder} also holds {more[0]}, which is no part of a LoRA.")
    for site in lora.place(find_sites(base)):
        at = Attachment(lora, site)
        start = f"{PREFIX}{site.module}.adaptkit_weights."
        pair = found[site].factors(lora.r) if site in found else _zeros(lora, site)
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
