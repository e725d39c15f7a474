"""What a model was made for: its language-modelling objective, and whether it has an encoder."""

from __future__ import annotations

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


def model_kind(model: str | None) -> str:
    """`decoder` if a model writes by a decoder alone, else `encoder-decoder`.

    `model`: None for one that is made from scratch.
    """
    if model is None:
        return ENCODER_DECODER
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    from adaptkit.models.names import load_config

    config = load_config(model)
    writes = (
        config.model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and not config.is_encoder_decoder
    )
    return DECODER if writes and language_objective(model, "") == "clm" else ENCODER_DECODER
