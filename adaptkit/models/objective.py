"""What a model was made for: its language-modelling objective, and whether it has an encoder."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from adaptkit.errors import AdaptkitError
from adaptkit.tasks.rewrite import DECODER, ENCODER_DECODER


def language_objective(model: str | None, kind: str) -> str:
    """mlm if transformers has a masked LM head for the model type, else clm.

    `kind`: the kind of a model made from scratch.
    """
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

    from adaptkit.models.names import load_config

    return (
        "mlm"
        if (load_config(model).model_type if model else kind) in MODEL_FOR_MASKED_LM_MAPPING_NAMES
        else "clm"
    )


def is_decoder(config: Any) -> bool:
    """True if a model of this configuration writes by itself: a causal head and no masked one."""
    from transformers.models.auto import modeling_auto as known

    causal = config.model_type in known.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    masked = config.model_type in known.MODEL_FOR_MASKED_LM_MAPPING_NAMES
    return causal and not masked and not config.is_encoder_decoder


def model_kind(model: str | None) -> str:
    """`decoder` if a model writes by a decoder alone, else `encoder-decoder`.

    `model`: None for one that is made from scratch.
    """
    from adaptkit.models.names import load_config

    return DECODER if model and is_decoder(load_config(model)) else ENCODER_DECODER


def settings_of_kind(
    settings: dict[str, Any], given: Collection[str], default: str | None, model: str | None
) -> dict[str, Any]:
    """The settings of a task that rewrites texts which depend on the kind of its model.

    Args:
        settings: of the task, as the flags have them. given: the names of the flags that were set.
        default: the kind if the flag is auto; None for that of the model.

    Raises:
        AdaptkitError: they do not fit the model.
    """
    kind = settings["model_kind"]
    kind = default or model_kind(model) if kind == "auto" else kind
    if kind != DECODER:
        if model is not None and default is None and kind == ENCODER_DECODER:
            _check_encoder_decoder(model)
        return {"model_kind": kind}
    if "no_repeat_ngram_size" in given:
        raise AdaptkitError(
            "--no_repeat_ngram_size goes with an encoder-decoder: over a decoder it would keep the "
            "words of the source out of the target."
        )
    greedy = {} if "num_beams" in given else {"num_beams": 1}
    return {"model_kind": kind, "no_repeat_ngram_size": 0} | greedy


def _check_encoder_decoder(model: str) -> None:
    """Refuse a model that is no encoder-decoder.

    Raises:
        AdaptkitError: it is a decoder (`--model_kind decoder`), or writes nothing.
    """
    from adaptkit.models.names import load_config

    config = load_config(model)
    if config.is_encoder_decoder:
        return
    if is_decoder(config):
        raise AdaptkitError(f"{model} is a decoder: give --model_kind decoder, or leave it out.")
    raise AdaptkitError(
        f"{model} is an encoder ({config.model_type}), which writes nothing: give a chat model or "
        "an encoder-decoder."
    )
