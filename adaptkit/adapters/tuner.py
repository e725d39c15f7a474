"""The integration with PEFT: one PEFT type for every method and union.

Use `adapt(model, method)` to inject. `AdaptConfig` is a `peft.PeftConfig` and works with
`peft.get_peft_model`, `PeftModel.from_pretrained`, transformers' `add_adapter` and the Trainer.
adaptkit registers its type with PEFT and patches nothing.
"""

from __future__ import annotations

import enum
import re
from collections import defaultdict
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import peft
from peft import mapping
from peft.tuners.tuners_utils import BaseTuner
from torch import Tensor, nn

from adaptkit.adapters.attachments import Attachment
from adaptkit.adapters.attention import check_routable
from adaptkit.adapters.layer import AdaptLayer
from adaptkit.errors import AdaptkitError
from adaptkit.methods.base import Method
from adaptkit.methods.grammar import describe_method, parse_method
from adaptkit.methods.registry import known_methods
from adaptkit.models.backbone import base_modules
from adaptkit.models.find_sites import find_sites, missing_sites
from adaptkit.models.frozen_statistics import freeze_statistics
from adaptkit.models.quantization import is_packed


class AdaptkitPeftType(str, enum.Enum):  # noqa: UP042, as PEFT's own
    """The PEFT type: PEFT reads `.value` in several places, and its own enum cannot be extended."""

    ADAPTKIT = "ADAPTKIT"


@dataclass
class AdaptConfig(peft.PeftConfig):
    """PEFT configuration of an adaptkit adapter.

    `method`: a string in the method grammar, a Method, or a sequence of them. `modules_to_save`:
        full
    paths of the head's modules.
    """

    method: str = field(
        default="lora", metadata={"help": "what is injected, in the method grammar"}
    )
    modules_to_save: list[str] | None = field(
        default=None, metadata={"help": "modules trained and saved in full: the head"}
    )
    target_modules: list[str] | None = field(
        default=None, metadata={"help": "not used: methods choose sites"}
    )
    target_parameters: list[str] | None = field(
        default=None, metadata={"help": "not used: methods choose sites"}
    )

    def __post_init__(self):
        super().__post_init__()
        self.peft_type = AdaptkitPeftType.ADAPTKIT
        self.method = describe_method(as_methods(self.method), full=True)
        if self.target_modules or self.target_parameters:
            raise AdaptkitError(
                "AdaptConfig takes no target_modules: a method chooses sites, as in "
                "lora[sites=attn.q|attn.v]."
            )


def as_methods(method: str | Method | Sequence[Method]) -> tuple[Method, ...]:
    """Methods from any accepted form."""
    if isinstance(method, str):
        return parse_method(method)
    given = (method,) if isinstance(method, Method) else tuple(method)
    if not given or not all(isinstance(one, Method) for one in given):
        raise AdaptkitError(
            "a method is a string such as 'lora[r=8]', a Method, or a peft.PeftConfig; it got "
            f"{method!r}."
        )
    return given


def plan(model: nn.Module, union: tuple[Method, ...]) -> dict[str, list[Attachment]]:
    """Module path -> its attachments, in the order of the union; the same if adapted already."""
    sites = find_sites(model)
    planned = defaultdict(list)
    try:
        for index, method in enumerate(union):
            for site in method.place(sites):
                planned[site.module].append(Attachment(method, site, index))
    except AdaptkitError as problem:
        raise AdaptkitError(f"{problem}{missing_sites(model)}") from None
    return dict(planned)


class AdaptTuner(BaseTuner):
    """PEFT's tuner for `AdaptConfig`: wraps the planned modules in `AdaptLayer`s."""

    prefix = "adaptkit_"
    tuner_layer_cls = AdaptLayer
    target_module_mapping: dict[str, list[str]] = {}

    def inject_adapter(self, model: nn.Module, adapter_name: str, *args, **kwargs) -> None:
        # Fail here, before the model is touched.
        check_adapter_name(adapter_name)
        config = cast(AdaptConfig, self.peft_config[adapter_name])
        self._plan = plan(model, parse_method(config.method))
        self._modules_by_path = base_modules(model)
        for attachment in (one for attachments in self._plan.values() for one in attachments):
            if attachment.site.kind == "attention":
                check_routable(self._modules_by_path[attachment.site.entry])
        freeze_statistics(model)
        try:
            super().inject_adapter(model, adapter_name, *args, **kwargs)
        finally:
            del self._plan, self._modules_by_path

    def _prepare_adapter_config(self, peft_config, model_config):
        return peft_config

    def _check_target_module_exists(self, peft_config, key: str) -> bool:
        return key in self._plan

    def _create_and_replace(
        self,
        peft_config,
        adapter_name,
        target,
        target_name,
        parent,
        current_key,
        parameter_name=None,
    ):
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
        if (
            kwargs.get("adapter_names") is not None
        ):  # PEFT would drop it and run all rows through the active adapter
            raise AdaptkitError(
                "adapter_names: rows with different adapters in one batch are what adaptkit.Host "
                "is for."
            )
        yield

    def _replace_module(self, parent, child_name, new_module, child):
        """Put a module in the place of another.

        PEFT would move it to where the base's weight is, which is nowhere if that is offloaded, and
        would pass on a `.weight`, which a head of several modules lacks.
        """
        setattr(parent, child_name, new_module)

    def _check_can_merge(self, adapter_names: list[str] | None) -> None:
        for adapter in adapter_names or self.active_adapters:
            config = cast(AdaptConfig, self.peft_config[adapter])
            for method in parse_method(config.method):
                if not method.affine:
                    raise AdaptkitError(
                        f"adapter {adapter!r} cannot be merged: {method} is not a linear change "
                        "of the base's weights. "
                        f"Keep it as an adapter; {_mergeable()} without gates can be merged."
                    )
        for name, module in self.model.named_modules():
            if not isinstance(module, AdaptLayer):
                continue
            weight = cast(Tensor, module.base_layer.weight)
            if weight.is_meta:
                raise AdaptkitError(
                    f"{name} is offloaded, so nothing can be merged into it. Load the base where "
                    "its weights are in memory."
                )
            if is_packed(weight):
                raise AdaptkitError(
                    f"{name} is quantized ({type(module.base_layer).__name__}): rounding would "
                    "change the merged weights. "
                    "Load the base without quantization to merge."
                )

    def merge_adapter(
        self, adapter_names: list[str] | None = None, safe_merge: bool = False
    ) -> None:
        self._check_can_merge(adapter_names)
        super().merge_adapter(adapter_names, safe_merge)

    def _unload_and_optionally_merge(
        self, merge=True, progressbar=False, safe_merge=False, adapter_names=None
    ):
        if merge:
            self._check_can_merge(adapter_names)
        return super()._unload_and_optionally_merge(merge, progressbar, safe_merge, adapter_names)


def _mergeable() -> str:
    """The methods that can be merged, some of them depending on their settings."""
    return ", ".join(sorted(name for name, kind in known_methods().items() if kind.affine))


def check_adapter_name(name: str) -> None:
    """Refuse adapter names that torch cannot store, before anything changes."""
    if not isinstance(name, str) or not name or "." in name or hasattr(nn.ModuleDict(), name):
        suggestion = re.sub(r"\W", "_", str(name)) or "default"
        suggestion = suggestion + "_1" if hasattr(nn.ModuleDict(), suggestion) else suggestion
        raise AdaptkitError(
            f"adapter name {name!r} cannot be used inside a model: names hold no dot and are no "
            "method of torch's modules. "
            f"Use {suggestion!r}; the folder on disk may have any name."
        )


_REGISTRIES: tuple[tuple[Any, Any], ...] = (
    (mapping.PEFT_TYPE_TO_CONFIG_MAPPING, AdaptConfig),
    (mapping.PEFT_TYPE_TO_TUNER_MAPPING, AdaptTuner),
    (mapping.PEFT_TYPE_TO_PREFIX_MAPPING, AdaptTuner.prefix),
)
for _registry, _value in _REGISTRIES:
    _registry[AdaptkitPeftType.ADAPTKIT] = _value
