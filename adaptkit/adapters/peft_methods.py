"""PEFT's own methods: in the method grammar, put into a base, and PEFT's names of task types."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import peft
import torch
from peft import mapping
from peft.utils import get_peft_model_state_dict, set_peft_model_state_dict
from torch import Tensor, nn

from adaptkit.adapters.card import CONFIG, WEIGHTS
from adaptkit.adapters.files import AdapterFiles, check_shapes
from adaptkit.adapters.peft_files.settings import peft_config
from adaptkit.adapters.peft_files.shapes import expected_tensors
from adaptkit.errors import AdaptkitError, quoted, shorten, unknown
from adaptkit.methods.grammar import read_term, split_terms
from adaptkit.models.backbone import base_module
from adaptkit.models.frozen_statistics import freeze_statistics


def peft_method(text: str) -> peft.PeftConfig:
    """`peft:VERA[r=64,target_modules=q_proj|v_proj]` -> `peft.VeraConfig` with these settings."""
    if len(split_terms(text)) > 1:
        raise AdaptkitError(f"{text!r}: a method of PEFT's cannot be part of a union.")
    name, settings = read_term(text)
    known = {str(kind.value): kind for kind in mapping.PEFT_TYPE_TO_CONFIG_MAPPING}
    kind = name.removeprefix("peft:").upper()
    if kind not in known:
        raise unknown("PEFT method", kind, known)
    config = mapping.PEFT_TYPE_TO_CONFIG_MAPPING[known[kind]]
    for key in settings:
        if key not in config.__dataclass_fields__:
            raise unknown(f"setting of {name}", key, config.__dataclass_fields__)
    try:
        return config(
            **{key: _peft_names(key, _peft_value(value)) for key, value in settings.items()}
        )
    except (TypeError, ValueError) as problem:
        raise AdaptkitError(f"{text}: {problem}") from problem


def _peft_names(key: str, value: Any) -> Any:
    """A single module name as a list: PEFT reads a string as a pattern for whole paths."""
    return (
        [value]
        if key.endswith("_modules") and isinstance(value, str) and value.isidentifier()
        else value
    )


def _peft_value(text: str):
    if "|" in text:
        return [_peft_value(part) for part in text.split("|")]
    for known, value in (("true", True), ("false", False), ("none", None)):
        if text.lower() == known:
            return value
    for read in (int, float):
        try:
            number = read(text)
        except ValueError:
            continue
        if not abs(number) < (2**63 if isinstance(number, int) else 1e9):
            raise AdaptkitError(f"{quoted(text)} is no number that a method can use.")
        return number
    return text


_TASK_TYPES = {
    "ForSequenceClassification": peft.TaskType.SEQ_CLS,
    "ForTokenClassification": peft.TaskType.TOKEN_CLS,
    "ForQuestionAnswering": peft.TaskType.QUESTION_ANS,
    "ForCausalLM": peft.TaskType.CAUSAL_LM,
    "LMHeadModel": peft.TaskType.CAUSAL_LM,
    "ForConditionalGeneration": peft.TaskType.SEQ_2_SEQ_LM,
}


def peft_task_type(base: nn.Module) -> peft.TaskType | None:
    """PEFT's task type for a transformers model, or None for a bare backbone."""
    return task_type_of_class(type(base).__name__)


def task_type_of_class(name: str) -> peft.TaskType | None:
    """PEFT's task type for the name of a transformers model class."""
    return next((kind for ending, kind in _TASK_TYPES.items() if name.endswith(ending)), None)


def inject_peft(
    files: AdapterFiles, base: Any, bare: Any, tensors: dict[str, Tensor], adapter_name: str
) -> peft.PeftModel:
    """Inject an adapter of a PEFT method with PEFT, and check that every tensor is used.

    PEFT also writes the base's embeddings and output map where they are targets, or where the
    vocabulary has grown. They are put into a base that has no other adapters.

    Raises:
        AdaptkitError: the method is unknown, or a tensor is missing, unexpected or misshapen. The
            base is unchanged then.
    """
    folder, path = files.folder, files.folder / CONFIG
    config = peft_config(files.settings, path)
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    expected = expected_tensors(files.settings, bare, path)
    if expected is not None:  # what is beside the adapter is seen once it is injected
        check_shapes(folder, {k: shape for k, shape in shapes.items() if k in expected}, expected)
    fresh = not isinstance(base, peft.PeftModel)
    try:
        if fresh:
            base.requires_grad_(False)
            freeze_statistics(base)
            model = peft.get_peft_model(base, config, adapter_name)
        else:
            model = base
            model.add_adapter(adapter_name, config)
    except (ValueError, TypeError, RuntimeError, AttributeError) as problem:
        raise AdaptkitError(f"{folder}: {shorten(str(problem), 300)}") from problem
    state = get_peft_model_state_dict(model, adapter_name=adapter_name, save_embedding_layers=False)
    given, own = _embeddings(model, adapter_name, tensors.keys() - state.keys())
    try:
        _check_embeddings(folder, {name: given[name] for name in own}, tensors, fresh)
        check_shapes(folder, shapes, {k: tuple(t.shape) for k, t in {**state, **given}.items()})
        set_peft_model_state_dict(model, tensors, adapter_name)
    except AdaptkitError:
        if fresh:
            model.unload()
        else:
            model.delete_adapter(adapter_name)
        raise
    return model


def _embeddings(
    model: peft.PeftModel, adapter_name: str, names: set[str]
) -> tuple[dict[str, Tensor], set[str]]:
    """What PEFT writes beside an adapter, under these names, and which of it is the base's own."""
    if not names:
        return {}, set()
    whole = get_peft_model_state_dict(model, adapter_name=adapter_name, save_embedding_layers=True)
    bare: Any = model.get_base_model()
    maps = (bare.get_input_embeddings(), bare.get_output_embeddings())
    own = {
        tensor.data_ptr()
        for module in maps
        if module is not None
        for tensor in base_module(module).parameters(recurse=False)
    }
    found = {name: whole[name] for name in names if name in whole}
    return found, {name for name, tensor in found.items() if tensor.data_ptr() in own}


def _check_embeddings(
    folder: Path, given: dict[str, Tensor], tensors: dict[str, Tensor], fresh: bool
) -> None:
    """Refuse embeddings of another size, or others below the adapters that are there already."""
    for name, own in given.items():
        stored = tensors[name]
        if stored.shape != own.shape:
            raise AdaptkitError(
                f"{folder / WEIGHTS} holds {name} of {stored.shape[0]} tokens, this base has "
                f"{own.shape[0]}: base.resize_token_embeddings({stored.shape[0]}) first."
            )
        if not fresh and not torch.equal(stored.to(own.device, own.dtype), own):
            raise AdaptkitError(
                f"{folder / WEIGHTS} holds other embeddings than this base ({name}), and the "
                "adapters that the base has already would read them too: load it alone."
            )
