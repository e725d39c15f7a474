"""Plain LoRA in PEFT's own file format, so that PEFT, vLLM and others read it without adaptkit.

If one module carries several sites (GPT-2's packed q, k, v), PEFT has a single A and B for all of
it. The same map is written exactly: the A's stacked by rows, the B's as blocks. `r` is the largest
rank of a module, since servers make room by it; modules of other ranks are in PEFT's patterns.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, cast

import peft
import torch
from torch import Tensor, nn

from adaptkit.adapters.attachments import Attachment
from adaptkit.errors import AdaptkitError
from adaptkit.methods.lora import LoRA
from adaptkit.models.backbone import base_modules

Plan = dict[str, list[Attachment]]

PREFIX = "base_model.model."


def is_plain_lora(union: tuple) -> bool:
    """True if a union is one LoRA that PEFT can express."""
    return len(union) == 1 and type(union[0]) is LoRA and not union[0].gate


def to_peft_lora(plan: Plan, tensors: dict[str, Tensor], rows: dict[str, int]) -> dict[str, Tensor]:
    """Rename adaptkit's tensors (file names) to PEFT's.

    Tensors of the head pass through. `rows`: path -> width of the output.
    """
    native = dict(tensors)
    for path, attachments in plan.items():
        pairs = [
            (native.pop(_ours(path, at, "A")), native.pop(_ours(path, at, "B")))
            for at in attachments
        ]
        native[f"{PREFIX}{path}.lora_A.weight"] = torch.cat([a for a, _ in pairs])
        native[f"{PREFIX}{path}.lora_B.weight"] = _blocks(
            attachments, [b for _, b in pairs], rows[path]
        )
    return native


def from_peft_lora(
    plan: Plan, native: dict[str, Tensor], rows: dict[str, int]
) -> dict[str, Tensor]:
    """The inverse of `to_peft_lora`.

    Raises:
        AdaptkitError: a tensor is missing or has another shape, or B does not consist of blocks.
    """
    tensors = dict(native)
    for path, attachments in plan.items():
        names = [f"{PREFIX}{path}.lora_{letter}.weight" for letter in "AB"]
        if missing := [name for name in names if name not in tensors]:
            raise AdaptkitError(f"the weights lack {', '.join(missing)}")
        a, b = (tensors.pop(name) for name in names)
        rank = cast(LoRA, attachments[0].method).r
        wanted = [
            (rank * len(attachments), attachments[0].site.width_in),
            (rows[path], rank * len(attachments)),
        ]
        if [tuple(a.shape), tuple(b.shape)] != wanted:
            raise AdaptkitError(
                f"{path}: lora_A and lora_B have shapes {tuple(a.shape)}, {tuple(b.shape)}; "
                f"expected {wanted}"
            )
        parts = [
            b[_columns(at, rows[path]), i * rank : (i + 1) * rank]
            for i, at in enumerate(attachments)
        ]
        if attachments[0].site.part is not None and not torch.equal(
            _blocks(attachments, parts, rows[path]), b
        ):
            raise AdaptkitError(
                f"{path}: lora_B mixes the parts of a packed projection; load it with PEFT instead"
            )
        for i, (attachment, part) in enumerate(zip(attachments, parts, strict=True)):
            tensors[_ours(path, attachment, "A")] = a[i * rank : (i + 1) * rank]
            tensors[_ours(path, attachment, "B")] = part.contiguous()
    return tensors


def peft_lora_config(
    plan: Plan, method: LoRA, base: nn.Module, head: list[str] | None
) -> dict[str, Any]:
    """The settings of PEFT's LoraConfig, without irrelevant defaults."""
    ranks = {path: method.r * len(attachments) for path, attachments in plan.items()}
    largest = max(ranks.values())
    config: dict[str, Any] = lora_settings(method, largest) | {
        "lora_dropout": method.dropout,
        "bias": "none",
        "target_modules": _short_names(list(plan), base),
        "modules_to_save": head,
        "inference_mode": True,
    }
    if others := {path: rank for path, rank in ranks.items() if rank != largest}:
        config["rank_pattern"] = others
        config["alpha_pattern"] = {
            path: _whole(method.scale * method.grow(rank)) for path, rank in others.items()
        }
    modules = base_modules(base)
    if any(not hasattr(modules[path], "in_features") for path in plan):
        config["fan_in_fan_out"] = True
    peft.LoraConfig(**config)  # refuse here whatever PEFT would refuse
    return config


def lora_settings(method: LoRA, rank: int) -> dict[str, Any]:
    """The settings of PEFT's that follow from the method, and from the rank of its modules."""
    return {
        "peft_type": "LORA",
        "r": rank,
        "lora_alpha": _whole(method.scale * method.grow(rank)),
        "use_rslora": method.rslora,
    }


def _ours(path: str, attachment: Attachment, name: str) -> str:
    return f"{PREFIX}{path}.adaptkit_weights.{attachment.weight_name(name)}"


def _columns(attachment: Attachment, width: int) -> slice:
    return slice(*(attachment.site.part or (0, width)))


def _blocks(attachments: list[Attachment], parts: list[Tensor], width: int) -> Tensor:
    if attachments[0].site.part is None:
        return parts[0]
    rank = parts[0].shape[1]
    whole = parts[0].new_zeros(width, rank * len(parts))
    for i, (attachment, part) in enumerate(zip(attachments, parts, strict=True)):
        whole[_columns(attachment, width), i * rank : (i + 1) * rank] = part
    return whole


def _whole(number: float) -> float | int:
    return int(number) if float(number).is_integer() else number


def _short_names(paths: list[str], base: nn.Module) -> list[str]:
    """The last parts of the paths if they name only these modules (`query`), else full paths."""
    everywhere = Counter(name.rpartition(".")[2] for name in base_modules(base))
    ours = Counter(path.rpartition(".")[2] for path in paths)
    if all(everywhere[name] == count for name, count in ours.items()):
        return sorted(ours)
    return sorted(paths)
