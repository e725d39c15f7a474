"""Read any LoRA saved by PEFT as an adaptkit LoRA at the sites of the base.

PEFT stores one A and one B per module. If a module carries several sites (packed q, k and v), the
same map is A at each of them with that site's rows of B. Ranks and scales may differ between
modules: all get one rank, the scale is folded into B, and modules without an update get zeros.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import torch
from peft.utils.other import get_pattern_key
from torch import Tensor
from torch.nn import functional as F

from adaptkit.adapters.attachments import Attachment
from adaptkit.adapters.peft_lora import PREFIX
from adaptkit.errors import AdaptkitError
from adaptkit.methods.lora import LoRA
from adaptkit.models.sites import Site

_TENSOR = re.compile(re.escape(PREFIX) + r"(.*)\.lora_([AB])\.weight")

# Settings under which the file holds only part of the update, or has another meaning.
_REFUSED = (
    "use_dora",
    "lora_bias",
    "layer_replication",
    "alora_invocation_tokens",
    "use_qalora",
    "trainable_token_indices",
)

_HARMLESS_STARTS = (True, False, None, "gaussian", "orthogonal", "eva")


@dataclass
class PeftLoRA:
    """A LoRA saved by PEFT. `weights`: A `(r, in)` and B `(out, r)` by site, B including the scale.

    Ranks are the original ones. deltas: what it adds to modules outside the layers, `(out, in)` by
    path. rest: the tensors that do not belong to the LoRA.
    """

    method: LoRA
    weights: dict[Site, tuple[Tensor, Tensor]]
    deltas: dict[str, Tensor]
    rest: dict[str, Tensor]

    def filled(self, sites: list[Site]) -> dict[tuple[str, str], Tensor]:
        """The weights at all of the method's sites, in one rank, by (module path, weight name)."""
        found, rank = {}, self.method.r
        for site in self.method.place(sites):
            a, b = self.weights.get(site) or (
                torch.zeros(rank, site.width_in),
                torch.zeros(site.width_out, rank),
            )
            at = Attachment(self.method, site)
            found[site.module, at.weight_name("A")] = F.pad(a, (0, 0, 0, rank - len(a)))
            found[site.module, at.weight_name("B")] = F.pad(b, (0, rank - b.shape[1]))
        return found


def read_peft_lora(
    settings: dict[str, Any], tensors: dict[str, Tensor], sites: list[Site], prefix: str = ""
) -> PeftLoRA:
    """A PEFT LoRA from its settings and tensors.

    Args:
        settings: the content of `adapter_config.json`, of plain LoRA (`check_plain`).
        tensors: by their names in the file, with paths below the network.
        sites: the linear maps of the base.
        prefix: the prefix of the network's paths in the task model, which PEFT's patterns include.

    Raises:
        AdaptkitError: its shapes do not fit.
    """
    pairs: dict[str, dict[str, Tensor]] = defaultdict(dict)
    rest = {}
    for name, tensor in tensors.items():
        if found := _TENSOR.fullmatch(name):
            pairs[found[1]][found[2]] = tensor
        else:
            rest[name] = tensor
    by_module = defaultdict(list)
    for site in sites:
        by_module[site.module].append(site)
    weights: dict[Site, tuple[Tensor, Tensor]] = {}
    deltas = {}
    for path, pair in pairs.items():
        if pair.keys() != {"A", "B"}:
            raise AdaptkitError(
                f"{path} has lora_{''.join(pair)} alone; lora_A and lora_B belong together."
            )
        a, b = pair["A"], pair["B"]
        if a.ndim != 2 or b.ndim != 2 or not len(a) or b.shape[1] != len(a):
            raise AdaptkitError(
                f"{path}: lora_A {tuple(a.shape)} and lora_B {tuple(b.shape)} are no pair of "
                "matrices."
            )
        b = b * _scale(settings, prefix + path, len(a))
        if path not in by_module:
            deltas[path] = b @ a
        for site in by_module.get(path, ()):
            width = max(own.part[1] if own.part else own.width_out for own in by_module[path])
            if a.shape[1] != site.width_in or len(b) != width:
                raise AdaptkitError(
                    f"{path}: lora_A {tuple(a.shape)} and lora_B {tuple(b.shape)} do not fit "
                    "this base."
                )
            weights[site] = a, b[slice(*(site.part or (0, width)))]
    if not weights:
        where = f" It changes {', '.join(sorted(deltas)[:3])}." if deltas else ""
        raise AdaptkitError(
            f"it changes no linear map of a layer.{where} Was it trained in another task model?"
        )
    rank = max(len(a) for a, _ in weights.values())
    method = LoRA(r=rank, alpha=float(rank), sites=tuple(sorted({site.name for site in weights})))
    return PeftLoRA(method, weights, deltas, rest)


def check_plain(settings: dict[str, Any]) -> None:
    """Refuse what is no LoRA, or whose settings change the meaning of the weights."""
    if settings.get("peft_type") != "LORA":
        raise AdaptkitError(
            "a host serves LoRA adapters of PEFT's and adaptkit's own methods; this one is "
            f"{settings.get('peft_type')}."
        )
    if more := beyond_plain(settings):
        raise AdaptkitError(
            f"a host serves plain LoRA; this one has {', '.join(more)}. Merge it, or use it "
            "through PEFT."
        )


def beyond_plain(settings: dict[str, Any]) -> list[str]:
    """The settings of a LoRA of PEFT's with which A, B and a scale are not all of its change."""
    more = [name for name in _REFUSED if settings.get(name)]
    more += [f"bias={settings['bias']}"] if settings.get("bias", "none") != "none" else []
    start = settings.get("init_lora_weights", True)
    return more + ([f"init_lora_weights={start}"] if start not in _HARMLESS_STARTS else [])


def _scale(settings: dict[str, Any], path: str, rank: int) -> float:
    patterns = settings.get("alpha_pattern") or {}
    alpha = patterns.get(get_pattern_key(list(patterns), path), settings.get("lora_alpha", 8))
    return alpha / (math.sqrt(rank) if settings.get("use_rslora") else rank)
