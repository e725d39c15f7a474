"""Inject a fresh adapter into a frozen model."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import peft
from torch import nn

from adaptkit.adapters.peft_files.settings import check_start
from adaptkit.adapters.peft_methods import peft_method, peft_task_type
from adaptkit.adapters.tuner import AdaptConfig, as_methods, check_adapter_name
from adaptkit.errors import AdaptkitError, shorten, unknown
from adaptkit.methods.base import Method
from adaptkit.methods.grammar import describe_method
from adaptkit.models.frozen_statistics import freeze_statistics
from adaptkit.models.loss_items import note_loss_items
from adaptkit.models.quantization import check_unpacked, keep_unpacked


def adapt(
    model: nn.Module,
    method: str | Method | Sequence[Method] | peft.PeftConfig = "lora",
    *,
    adapter_name: str = "default",
    head: Sequence[str] | None = None,
) -> peft.PeftModel:
    """Inject a fresh adapter into a frozen model.

    Args:
        model: a transformers model, preferably from `load_base`; or a PeftModel, which gets one
            more adapter.
        method: a string in the method grammar (`"lora[r=8]+prefix"`, `"peft:VERA[r=64]"`), one
            Method or several, or any `peft.PeftConfig`.
        adapter_name: its name inside the model.
        head: full paths of modules to train and save with the adapter. Defaults to the modules that
            `load_base` found to be new. Required for a model with a task head that was loaded in
            another way (an empty list for no head).

    Returns:
        A `peft.PeftModel` in which only the adapter and its head train.

    Raises:
        AdaptkitError: the method or a setting is unknown, the model has no site for it, or the
            head cannot be determined. Or what is to be trained would be in offloaded modules.
    """
    base = model.get_base_model() if isinstance(model, peft.PeftModel) else model
    modules = list(head) if head is not None else head_modules(base)
    paths = {path for path, _ in base.named_modules()}
    missing = [name for name in modules if name not in paths]
    if missing:
        raise unknown("head module", missing[0], [name for name, _ in base.named_children()])
    config = make_config(method, base, modules)
    check_adapter_name(adapter_name)
    _check_offloaded(base, config, modules)
    check_unpacked(base)
    keep_unpacked(base)
    note_loss_items(base)
    freeze_statistics(base)
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message=".*is_gradient_checkpointing.*"
        )  # PEFT calls transformers' function by its old name
        if isinstance(model, peft.PeftModel):
            if adapter_name in model.peft_config:
                raise AdaptkitError(
                    f"the model has an adapter {adapter_name!r} already; choose another "
                    "adapter_name."
                )
            with _refusals(config):
                model.add_adapter(adapter_name, config)
            model.set_adapter(adapter_name)
            return model
        base.requires_grad_(False)
        with _refusals(config):
            return peft.get_peft_model(base, config, adapter_name)


@contextmanager
def _refusals(config: peft.PeftConfig) -> Iterator[None]:
    """What PEFT raises for settings that do not fit a model, as an error of ours."""
    try:
        yield
    except AdaptkitError:
        raise
    except Exception as problem:  # of any kind: each of PEFT's methods has its own
        method = getattr(config.peft_type, "value", type(config).__name__)
        raise AdaptkitError(
            f"PEFT refuses {method} with these settings on this model "
            f"({type(problem).__name__}): {shorten(str(problem), 300)}"
        ) from problem


def _check_offloaded(base: Any, config: peft.PeftConfig, head: list[str]) -> None:
    """Refuse what would be trained where it has no numbers: in modules that are offloaded.

    Our layers fetch the base's weights by calling its modules. PEFT's own read them, and a head is
    copied as it is.
    """
    offloaded = [name for name, weight in base.named_parameters() if weight.is_meta]
    if not offloaded or len(offloaded) == len(list(base.parameters())):  # a plan without numbers
        return
    if not isinstance(config, AdaptConfig):
        raise AdaptkitError(
            f"PEFT's own methods do not go with weights that are offloaded, such as {offloaded[0]}."
            " Use one of adaptkit's, or load the base with a device_map without disk."
        )
    if lost := [name for name in offloaded if name.startswith(tuple(f"{one}." for one in head))]:
        raise AdaptkitError(
            f"the head's {lost[0]} is offloaded and cannot be trained there: give it a device in "
            "device_map."
        )


def make_config(method, base: nn.Module, head: list[str]) -> peft.PeftConfig:
    """The PEFT configuration of a method in any form, with the head in `modules_to_save`."""
    if isinstance(method, str) and method.startswith("peft:"):
        method = peft_method(method)
        _check_saved(method, base)
    if isinstance(method, peft.PeftConfig) and not isinstance(method, AdaptConfig):
        check_start(getattr(method, "init_lora_weights", None))
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


def _check_saved(config: peft.PeftConfig, base: nn.Module) -> None:
    """Refuse names of modules to save that a model does not have; PEFT ignores them."""
    paths = [path for path, _ in base.named_modules() if path]
    for name in getattr(config, "modules_to_save", None) or ():
        if not any(path.endswith(name) for path in paths):  # as PEFT looks for them
            raise unknown("module to save", name, {path.rpartition(".")[2] for path in paths})


def head_modules(base: Any) -> list[str]:
    """The head's modules: every parameter not in the checkpoint, as recorded by `load_base`.

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
