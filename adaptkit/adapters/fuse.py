"""AdapterFusion of stored adapters: find their fusion method, and fill a fresh one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import peft
import torch

from adaptkit.adapters.files import read_adapter
from adaptkit.adapters.inject import adapt
from adaptkit.adapters.tensors import adapter_tensors, own_tensors
from adaptkit.adapters.tuner import plan
from adaptkit.errors import AdaptkitError
from adaptkit.methods.bottleneck import Bottleneck
from adaptkit.methods.fusion import Fusion
from adaptkit.methods.grammar import parse_method
from adaptkit.models.fingerprint import fingerprint


def fusion_of(folders: Sequence[str | Path]) -> Fusion:
    """The Fusion method for the adapters in these folders, to pass to `adapt`.

    Raises:
        AdaptkitError: the adapters are not pfeiffer bottlenecks of one shape.
    """
    found = [_bottleneck(folder) for folder in folders]
    if len(found) < 2:
        raise AdaptkitError("fusion wants two adapters or more.")
    shapes = {
        (one.setting("reduction"), one.setting("activation"), one.sites, one.layers)
        for one in found
    }
    if len(shapes) > 1:
        raise AdaptkitError(
            "fusion wants adapters of one shape; these are "
            f"{', '.join(sorted({str(one) for one in found}))}."
        )
    ((reduction, activation, sites, layers),) = shapes
    return Fusion(len(found), float(reduction), activation, sites=sites, layers=layers)


def _bottleneck(folder: str | Path) -> Bottleneck:
    card = read_adapter(folder).card
    union = (
        parse_method(card.method)
        if card and card.method and not card.method.startswith("peft:")
        else ()
    )
    if (
        len(union) != 1
        or not isinstance(union[0], Bottleneck)
        or union[0].placement != "pfeiffer"
        or union[0].gate
    ):
        method = card.method if card else "no adapter of adaptkit's"
        raise AdaptkitError(
            f"{folder} is {method}: fusion is of adapters of bottleneck[placement=pfeiffer], "
            "without gates."
        )
    return union[0]


@torch.no_grad()
def fill(model: peft.PeftModel, folders: Sequence[str | Path]) -> None:
    """Copy stored adapters, without their heads, into the fresh fusion of a model.

    Args:
        model: from `adapt(base, fusion_of(folders))`.

    Raises:
        AdaptkitError: an adapter belongs to another base. The model is unchanged then.
    """
    bare = model.get_base_model()
    record = getattr(bare, "adaptkit_base", None)
    sources = []
    for folder in folders:
        method, files = _bottleneck(folder), read_adapter(folder)
        files.check_base(
            record.fingerprint if record else fingerprint(bare), record.name if record else ""
        )
        sources.append((method, own_tensors(files, bare, (method,))))
    slots = adapter_tensors(model, model.active_adapter)
    method = sources[0][0]
    for path, attachments in plan(bare, (method,)).items():
        for at in attachments:
            root = f"base_model.model.{path}.adaptkit_weights."
            served = []
            for one, tensors in sources:
                served.append(
                    one.to_served(
                        {name: tensors[root + at.weight_name(name)] for name in one.spec(at.site)}
                    )
                )
            for name in ("down", "down_bias", "up", "up_bias"):
                slots[root + at.weight_name(name)].copy_(
                    torch.stack([weights[name] for weights in served])
                )


def fuse(
    base: torch.nn.Module, folders: Sequence[str | Path], head: Sequence[str] | None = None
) -> peft.PeftModel:
    """A frozen base with the fusion of stored adapters; the mixture and the head train.

    Args:
        base: from `load_base`, with the new task's head.
        head: as for `adapt`.
    """
    model = adapt(base, fusion_of(folders), head=head)
    fill(model, folders)
    return model
