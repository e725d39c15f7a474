"""The order in which modules run, which may differ from the order in which they are registered."""

from __future__ import annotations

from typing import Any

import torch

from adaptkit.models.backbone import backbone_of


@torch.no_grad()
def parameters_called_after(model: Any, layer: str) -> set[str]:
    """Names of the parameters of modules that first run after a layer: norms, poolers and the head.

    Args:
        layer: path of the last layer of a transformers model that reads token ids.
    """
    backbone, prefix = backbone_of(model)
    called: list[str] = []

    def hook(path: str):
        return lambda *_: called.append(path)

    hooks = [
        module.register_forward_pre_hook(hook(path))
        for path, module in model.named_modules()
        if path
    ]
    ids = torch.arange(3, 7, device=next(model.parameters()).device)[None]
    decoder = {"decoder_input_ids": ids} if model.config.is_encoder_decoder else {}
    training = model.training
    model.eval()
    try:
        backbone(input_ids=ids, **decoder)
    finally:
        model.train(training)
        for one in hooks:
            one.remove()
    start = max(
        index for index, path in enumerate(called) if path == layer or path.startswith(f"{layer}.")
    )
    before = set(called[: start + 1])
    later = {path for path in called[start + 1 :] if path not in before}
    inside = prefix or "\0"
    outside = {
        name for name, _ in model.named_parameters() if prefix and not name.startswith(inside)
    }
    return outside | {
        name for name, _ in model.named_parameters() if name.rpartition(".")[0] in later
    }
