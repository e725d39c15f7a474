"""What a mixture of experts adds to its loss so that its router spreads tokens over experts."""

from __future__ import annotations

from typing import Any

from torch import Tensor

# The names that transformers' models have for the share of it.
_SHARES = ("router_aux_loss_coef", "aux_loss_coef")


def router_loss(model: Any, outputs: Any) -> Tensor | None:
    """The load balancing loss of one pass, weighted as the model's own forward weights it.

    Args:
        model: the transformers model itself.
        outputs: its outputs, or a `TokenLogits` with them.

    Returns:
        None if the model gives none: its configuration has `output_router_logits=False`, or it is
        no mixture of experts.
    """
    own = getattr(outputs, "outputs", outputs)
    loss = getattr(own, "aux_loss", None)
    if not isinstance(loss, Tensor):
        return None
    places = (model, model.config, model.config.get_text_config())
    shares = (getattr(place, name, None) for place in places for name in _SHARES)
    share = next((share for share in shares if share is not None), None)
    return None if share is None else share * loss


def has_router_loss(model: Any) -> bool:
    """Whether a model's configuration asks for a loss of its router, which reads every layer."""
    return bool(getattr(model.config.get_text_config(), "output_router_logits", False))


def left_out(model: Any) -> str:
    """What to say of a model whose router has a loss that `router_loss` does not see; or nothing.

    Behind an encoder, transformers computes it together with the loss of the labels only.
    """
    config = model.config
    if not (config.is_encoder_decoder and has_router_loss(model)):
        return ""
    return (
        f"the router's own loss of this {config.model_type} (output_router_logits) is no part of "
        "the training"
    )
