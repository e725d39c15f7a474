"""Which language-modelling objective a model was made for."""

from __future__ import annotations


def language_objective(model: str | None, kind: str) -> str:
    """What a model is for: mlm where transformers knows a masked head for its type, else clm.
    `kind`: of a model from nothing.
    """
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

    from adaptkit.models.names import load_config

    return (
        "mlm"
        if (load_config(model).model_type if model else kind) in MODEL_FOR_MASKED_LM_MAPPING_NAMES
        else "clm"
    )
