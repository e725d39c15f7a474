"""The front door: inject a fresh adapter into a frozen model."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from typing import Any

import peft
from torch import nn

from adaptkit.adapters.peft_methods import _peft_method, peft_task_type
from adaptkit.adapters.tuner import AdaptConfig, as_methods, check_adapter_name
from adaptkit.errors import AdaptkitError, unknown
from adaptkit.methods.base import Method
from adaptkit.methods.grammar import describe_method


def adapt(
    model: nn.Module,
    method: str | Method | Sequence[Method] | peft.PeftConfig = "lora",
    *,
    adapter_name: str = "default",
    head: Sequence[str] | None = None,
) -> peft.PeftModel:
    """Inject a fresh adapter into a frozen model.

    Args:
        model: a transformers model, best from `load_base`; or a PeftModel, which gets one more
            adapter.
        method: the grammar's text (`"lora[r=8]+prefix"`, `"peft:VERA[r=64]"`), a Method or several,
            or any `peft.PeftConfig`.
        adapter_name: its name inside the model.
        head: full paths of modules to train and save along. By default those that `load_base` found
            to be new; a model that was loaded in another way and has a task head needs them said
            (an empty list for none).

    Returns:
        A `peft.PeftModel` in which only the adapter and its head train.

    Raises:
        AdaptkitError: unknown method or setting, no site for it in this model, or a head that
            cannot be known.
    """
    base = model.get_base_model() if isinstance(model, peft.PeftModel) else model
    modules = list(head) if head is not None else head_modules(base)
    paths = {path for path, _ in base.named_modules()}
    missing = [name for name in modules if name not in paths]
    if missing:
        raise unknown("head module", missing[0], [name for name, _ in base.named_children()])
    config = make_config(method, base, modules)
    check_adapter_name(adapter_name)
    keep_trainable(base)
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message=".*is_gradient_checkpointing.*"
        )  # peft asks transformers by the old name
        if isinstance(model, peft.PeftModel):
            if adapter_name in model.peft_config:
                raise AdaptkitError(
                    f"the model has an adapter {adapter_name!r} already; choose another "
                    "adapter_name."
                )
            model.add_adapter(adapter_name, config)
            model.set_adapter(adapter_name)
            return model
        base.requires_grad_(False)
        return peft.get_peft_model(base, config, adapter_name)


def keep_trainable(base: Any) -> None:
    """Let gradients pass through 4-bit maps on a CPU, also after an evaluation.

    There bitsandbytes (0.50) packs their weights anew at the first evaluation, for a kernel that
    has no backward pass: an adapter that goes on training would get no gradients below. A map's
    state dict unpacks it.
    """
    for module in base.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
            if getattr(
                getattr(module.weight, "quant_state", None), "packing_format_for_cpu", False
            ):
                module.state_dict()


def make_config(method, base: nn.Module, head: list[str]) -> peft.PeftConfig:
    """The PEFT configuration of any form of method, with the head in `modules_to_save`."""
    if isinstance(method, str) and method.startswith("peft:"):
        method = _peft_method(method)
    if isinstance(method, peft.PeftConfig) and not isinstance(method, AdaptConfig):
        method = copy.copy(method)
        if head and hasattr(method, "modules_to_save"):
            method.modules_to_save = sorted({*(method.modules_to_save or ()), *head})
        elif head:
            raise AdaptkitError(
                f"{type(method).__name__} cannot carry the head {head}: choose another method, "
                "or head=[]."
            )
        if method.is_prompt_learning and method.task_type is None:
            method.task_type = peft_task_type(base)
        return method
    if isinstance(method, AdaptConfig):
        method = method.method
    return AdaptConfig(
        method=describe_method(as_methods(method), full=True), modules_to_save=head or None
    )


def head_modules(base: Any) -> list[str]:
    """The modules of the head: every parameter that the checkpoint did not hold, as `load_base`
    recorded it.

    Raises:
        AdaptkitError: the model was not loaded by `load_base` and has parameters outside its
            backbone.
    """
    record = getattr(base, "adaptkit_base", None)
    if record is not None:
        return list(record.head)
    prefix = getattr(base, "base_model_prefix", "")
    output = base.get_output_embeddings() if hasattr(base, "get_output_embeddings") else None
    outside = [
        name
        for name, module in base.named_children()
        if name != prefix
        and hasattr(base, prefix)
        and module is not output
        and any(True for _ in module.parameters())
    ]
    if outside and type(base).__name__.endswith(
        ("Classification", "QuestionAnswering", "MultipleChoice", "PreTraining")
    ):
        raise AdaptkitError(
            f"this {type(base).__name__} was not loaded by adaptkit.load_base, so it is not "
            f"known whether its head {outside} is "
            f"new or pretrained. Pass head={outside} to train and save it, or head=[] to leave "
            "it frozen."
        )
    return []
