"""The plug into PEFT: one PEFT type of our own, for every method and union.

`adapt(model, method)` is the front door. `AdaptConfig` is a `peft.PeftConfig` and works with `peft.get_peft_model`,
`PeftModel.from_pretrained`, transformers' `add_adapter` and the Trainer. PEFT's registry is written to, not patched.
"""

from __future__ import annotations

import copy
import enum
import re
import warnings
from collections import defaultdict
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import peft
from peft import mapping
from peft.tuners.tuners_utils import BaseTuner
from torch import nn

from adaptkit import methods
from adaptkit.attention import check_routable
from adaptkit.errors import AdaptkitError, unknown
from adaptkit.layers import AdaptLayer, Attachment
from adaptkit.methods.base import Method
from adaptkit.sites import find_sites


class AdaptkitPeftType(str, enum.Enum):  # noqa: UP042, as PEFT's own
    """PEFT reads `.value` in several places, and its own enum cannot be extended."""

    ADAPTKIT = "ADAPTKIT"


@dataclass
class AdaptConfig(peft.PeftConfig):
    """PEFT configuration of an adaptkit adapter.

    `method`: the grammar's text, a Method, or a sequence of them. `modules_to_save`: full paths of the head's modules.
    """

    method: str = field(default="lora", metadata={"help": "what is injected, in the method grammar"})
    modules_to_save: list[str] | None = field(default=None, metadata={"help": "modules trained and saved in full: the head"})
    target_modules: list[str] | None = field(default=None, metadata={"help": "not used: methods choose sites"})
    target_parameters: list[str] | None = field(default=None, metadata={"help": "not used: methods choose sites"})

    def __post_init__(self):
        super().__post_init__()
        self.peft_type = AdaptkitPeftType.ADAPTKIT
        self.method = methods.describe(as_methods(self.method), full=True)
        if self.target_modules or self.target_parameters:
            raise AdaptkitError("AdaptConfig takes no target_modules: a method chooses sites, as in lora[sites=attn.q|attn.v].")


def as_methods(method: str | Method | Sequence[Method]) -> tuple[Method, ...]:
    """Methods from any of the forms in which they can be given."""
    if isinstance(method, str):
        return methods.parse(method)
    given = (method,) if isinstance(method, Method) else tuple(method)
    if not given or not all(isinstance(one, Method) for one in given):
        raise AdaptkitError(f"a method is a string such as 'lora[r=8]', a Method, or a peft.PeftConfig; it got {method!r}.")
    return given


def plan(model: nn.Module, union: tuple[Method, ...]) -> dict[str, list[Attachment]]:
    """Which module of the base gets which attachments: module path -> attachments, in the order of the union."""
    sites = find_sites(model)
    planned = defaultdict(list)
    for index, method in enumerate(union):
        for site in method.place(sites):
            planned[site.module].append(Attachment(method, site, index))
    return dict(planned)


class AdaptTuner(BaseTuner):
    """PEFT's tuner for `AdaptConfig`: wraps the planned modules in `AdaptLayer`s."""

    prefix = "adaptkit_"
    tuner_layer_cls = AdaptLayer
    target_module_mapping: dict[str, list[str]] = {}

    def inject_adapter(self, model: nn.Module, adapter_name: str, *args, **kwargs) -> None:
        # Whatever can go wrong goes wrong here, before the model is touched.
        check_adapter_name(adapter_name)
        config = self.peft_config[adapter_name]
        self._plan = plan(model, methods.parse(config.method))
        self._modules_by_path = {_plain(name): module for name, module in model.named_modules()}
        for attachment in (one for attachments in self._plan.values() for one in attachments):
            if attachment.site.kind == "attention":
                check_routable(self._modules_by_path[attachment.site.entry])
        try:
            super().inject_adapter(model, adapter_name, *args, **kwargs)
        finally:
            del self._plan, self._modules_by_path

    def _prepare_adapter_config(self, peft_config, model_config):
        return peft_config

    def _check_target_module_exists(self, peft_config, key: str) -> bool:
        return key in self._plan

    def _create_and_replace(self, peft_config, adapter_name, target, target_name, parent, current_key, parameter_name=None):
        layer = target if isinstance(target, AdaptLayer) else AdaptLayer(target)
        layer.update_layer(adapter_name, self._plan[current_key], self._modules_by_path)
        if layer is not target:
            self._replace_module(parent, target_name, layer, target)

    def _mark_only_adapters_as_trainable(self, model: nn.Module) -> None:
        super()._mark_only_adapters_as_trainable(model)
        for module in model.modules():
            if isinstance(module, AdaptLayer):
                module.keep_frozen()

    @contextmanager
    def _enable_peft_forward_hooks(self, *args, **kwargs):
        if kwargs.get("adapter_names") is not None:  # PEFT would drop it, and all rows go through the active adapter
            raise AdaptkitError("adapter_names: rows with different adapters in one batch are what adaptkit.Host is for.")
        yield

    def _replace_module(self, parent, child_name, new_module, child):
        if hasattr(new_module, "base_layer"):
            super()._replace_module(parent, child_name, new_module, child)
        else:  # PEFT hands over `.weight`, which is there anyway, and which a head of several modules has not
            setattr(parent, child_name, new_module)

    def _check_can_merge(self, adapter_names: list[str] | None) -> None:
        for adapter in adapter_names or self.active_adapters:
            for method in methods.parse(self.peft_config[adapter].method):
                if not method.affine:
                    raise AdaptkitError(
                        f"adapter {adapter!r} cannot be merged: {method} is not a linear change of the base's weights. "
                        "Keep it as an adapter; only lora and ia3 without gates can be merged."
                    )
        for name, module in self.model.named_modules():
            if isinstance(module, AdaptLayer) and not module.base_layer.weight.dtype.is_floating_point:
                raise AdaptkitError(
                    f"{name} is quantized ({type(module.base_layer).__name__}): rounding would change the merged weights. "
                    "Load the base without quantization to merge."
                )

    def merge_adapter(self, adapter_names: list[str] | None = None, safe_merge: bool = False) -> None:
        self._check_can_merge(adapter_names)
        super().merge_adapter(adapter_names, safe_merge)

    def _unload_and_optionally_merge(self, merge=True, progressbar=False, safe_merge=False, adapter_names=None):
        if merge:
            self._check_can_merge(adapter_names)
        return super()._unload_and_optionally_merge(merge, progressbar, safe_merge, adapter_names)


def check_adapter_name(name: str) -> None:
    """Refuse the adapter names that torch cannot hold, before anything is changed."""
    if not isinstance(name, str) or not name or "." in name or hasattr(nn.ModuleDict(), name):
        suggestion = re.sub(r"\W", "_", str(name)) or "default"
        suggestion = suggestion + "_1" if hasattr(nn.ModuleDict(), suggestion) else suggestion
        raise AdaptkitError(
            f"adapter name {name!r} cannot be used inside a model: names hold no dot and are no method of torch's modules. "
            f"Use {suggestion!r}; the folder on disk may have any name."
        )


def _plain(name: str) -> str:
    return name.replace(".base_layer", "")


for _registry, _value in (
    (mapping.PEFT_TYPE_TO_CONFIG_MAPPING, AdaptConfig),
    (mapping.PEFT_TYPE_TO_TUNER_MAPPING, AdaptTuner),
    (mapping.PEFT_TYPE_TO_PREFIX_MAPPING, AdaptTuner.prefix),
):
    _registry[AdaptkitPeftType.ADAPTKIT] = _value


def adapt(
    model: nn.Module,
    method: str | Method | Sequence[Method] | peft.PeftConfig = "lora",
    *,
    adapter_name: str = "default",
    head: Sequence[str] | None = None,
) -> peft.PeftModel:
    """Inject a fresh adapter into a frozen model.

    Args:
        model: a transformers model, best from `load_base`; or a PeftModel, which gets one more adapter.
        method: the grammar's text (`"lora[r=8]+prefix"`, `"peft:VERA[r=64]"`), a Method or several, or any `peft.PeftConfig`.
        adapter_name: its name inside the model.
        head: full paths of modules to train and save along. By default those that `load_base` found to be new; a model that was
            loaded in another way and has a task head needs them said (an empty list for none).

    Returns:
        A `peft.PeftModel` in which only the adapter and its head train.

    Raises:
        AdaptkitError: unknown method or setting, no site for it in this model, or a head that cannot be known.
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
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*")  # peft asks transformers by the old name
        if isinstance(model, peft.PeftModel):
            if adapter_name in model.peft_config:
                raise AdaptkitError(f"the model has an adapter {adapter_name!r} already; choose another adapter_name.")
            model.add_adapter(adapter_name, config)
            model.set_adapter(adapter_name)
            return model
        base.requires_grad_(False)
        return peft.get_peft_model(base, config, adapter_name)


def keep_trainable(base: nn.Module) -> None:
    """Let gradients pass through 4-bit maps on a CPU, also after an evaluation.

    There bitsandbytes (0.50) packs their weights anew at the first evaluation, for a kernel that has no backward pass: an adapter
    that goes on training would get no gradients below. A map's state dict unpacks it.
    """
    for module in base.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
            if getattr(getattr(module.weight, "quant_state", None), "packing_format_for_cpu", False):
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
            raise AdaptkitError(f"{type(method).__name__} cannot carry the head {head}: choose another method, or head=[].")
        if method.is_prompt_learning and method.task_type is None:
            method.task_type = peft_task_type(base)
        return method
    if isinstance(method, AdaptConfig):
        method = method.method
    return AdaptConfig(method=as_methods(method), modules_to_save=head or None)


def _peft_method(text: str) -> peft.PeftConfig:
    """`peft:VERA[r=64,target_modules=q_proj|v_proj]` -> `peft.VeraConfig(r=64, target_modules=[...])`."""
    if len(methods.split_terms(text)) > 1:
        raise AdaptkitError(f"{text!r}: a method of PEFT's cannot be part of a union.")
    name, settings = methods.read_term(text)
    known = {str(kind.value): kind for kind in mapping.PEFT_TYPE_TO_CONFIG_MAPPING}
    kind = name.removeprefix("peft:").upper()
    if kind not in known:
        raise unknown("PEFT method", kind, known)
    config = mapping.PEFT_TYPE_TO_CONFIG_MAPPING[known[kind]]
    for key in settings:
        if key not in config.__dataclass_fields__:
            raise unknown(f"setting of {name}", key, config.__dataclass_fields__)
    try:
        return config(**{key: _peft_names(key, _peft_value(value)) for key, value in settings.items()})
    except (TypeError, ValueError) as problem:
        raise AdaptkitError(f"{text}: {problem}") from problem


def _peft_names(key: str, value: Any) -> Any:
    """One name of a module as a list: PEFT takes a text for a pattern of whole paths."""
    return [value] if key.endswith("_modules") and isinstance(value, str) and value.isidentifier() else value


def _peft_value(text: str):
    if "|" in text:
        return [_peft_value(part) for part in text.split("|")]
    for known, value in (("true", True), ("false", False), ("none", None)):
        if text.lower() == known:
            return value
    for read in (int, float):
        try:
            return read(text)
        except ValueError:
            pass
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
    """PEFT's name of the task that a transformers model class is for, or None for a bare backbone."""
    return task_type_of_class(type(base).__name__)


def task_type_of_class(name: str) -> peft.TaskType | None:
    """The same from the class's name."""
    return next((kind for ending, kind in _TASK_TYPES.items() if name.endswith(ending)), None)


def head_modules(base: nn.Module) -> list[str]:
    """The modules of the head: every parameter that the checkpoint did not hold, as `load_base` recorded it.

    Raises:
        AdaptkitError: the model was not loaded by `load_base` and has parameters outside its backbone.
    """
    record = getattr(base, "adaptkit_base", None)
    if record is not None:
        return list(record.head)
    prefix = getattr(base, "base_model_prefix", "")
    output = base.get_output_embeddings() if hasattr(base, "get_output_embeddings") else None
    outside = [
        name
        for name, module in base.named_children()
        if name != prefix and hasattr(base, prefix) and module is not output and any(True for _ in module.parameters())
    ]
    if outside and type(base).__name__.endswith(("Classification", "QuestionAnswering", "MultipleChoice", "PreTraining")):
        raise AdaptkitError(
            f"this {type(base).__name__} was not loaded by adaptkit.load_base, so it is not known whether its head {outside} is "
            f"new or pretrained. Pass head={outside} to train and save it, or head=[] to leave it frozen."
        )
    return []
