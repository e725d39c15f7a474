"""The language-modelling objective of a model."""

from __future__ import annotations


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
