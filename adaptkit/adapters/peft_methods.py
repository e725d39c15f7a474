"""PEFT's own methods in the method grammar, and PEFT's names of task types."""

from __future__ import annotations

from typing import Any

import peft
from peft import mapping
from torch import nn

from adaptkit.errors import AdaptkitError, quoted, unknown
from adaptkit.methods.grammar import read_term, split_terms


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


_LISTS = ("modules_to_save", "target_parameters")


def _peft_names(key: str, value: Any) -> Any:
    """A single module name as a list: PEFT reads a string as a pattern for whole paths.

    What is saved has no pattern, so there a string would be a list of its letters.
    """
    named = key.endswith("_modules") and isinstance(value, str) and value.isidentifier()
    saved = key in _LISTS and isinstance(value, str)
    return [value] if named or saved else value


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
