"""The training layer: wraps one module of the base, as PEFT requires, and owns the parameters.

Methods attach to sites; a site's kind defines what the formula reads and changes:

    map         x = the module's input, y = its output (or the site's columns of it)
    block       x = the residual stream as it entered the block, y = the module's output, which
                the block adds to it
    stream      x = the residual stream as it leaves the block, y = the module's output
    norm        x = the norm's output, y = its input; the norm then runs again on the result
    attention   x = the hidden states of the queries, y = keys and values; the module here is the
                one that computes the queries

Of methods that read the output of their site (`Method.reads_output`), x and y are both the output
of the map or of the norm.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer, check_adapters_to_merge
from torch import Tensor, nn

from adaptkit.adapters.attachments import Attachment, Weights, join_key_values, transform
from adaptkit.adapters.attention import route, unroute
from adaptkit.methods.key_values import KeyValues
from adaptkit.models.backbone import device_of
from adaptkit.models.sites import Site


class Relay:
    """Carries a tensor from where it enters a block to where it is needed, one per thread."""

    def __init__(self):
        self._local = threading.local()

    def put(self, tensor: Tensor) -> None:
        self._local.tensor = tensor

    def put_input(self, module: nn.Module, args: tuple) -> None:
        """Forward pre-hook: remember the module's first input."""
        self._local.tensor = args[0]

    def take(self) -> Tensor | None:
        tensor, self._local.tensor = getattr(self._local, "tensor", None), None
        return tensor

    def __reduce__(self):
        return Relay, ()


class Wrapper(nn.Module):
    """A module around a module of the base; it forwards all attributes that are not its own."""

    def __init__(self, base_layer: nn.Module):
        super().__init__()
        self.base_layer = base_layer

    def __getattr__(self, name: str):
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name == "base_layer":
                raise
            return getattr(self.base_layer, name)


class AdaptLayer(Wrapper, BaseTunerLayer):
    """A module of the base with the attached weights of any number of adapters.

    Weights are stored in `adaptkit_weights[adapter][name]` in fp32. The formula gets them in the
    dtype of the activations, so the small weights are cast and the activations are not.
    """

    adapter_layer_names = ("adaptkit_weights",)
    other_param_names = ("adaptkit_attachments",)

    def __init__(self, base_layer: nn.Module):
        super().__init__(base_layer)
        self.adaptkit_weights: Any = nn.ModuleDict()
        self.adaptkit_attachments: dict[str, list[Attachment]] = {}
        self.merged_adapters: list[str] = []
        self._disable_adapters = False
        self._active_adapter = []
        self._stream = Relay()
        self._queries = Relay()
        self._hook: Any = None
        self._attention: list[
            nn.Module
        ] = []  # in a list, so that it is no child module of this layer
        self._unmerged: tuple[Tensor, Tensor | None] | None = None

    def update_layer(
        self, adapter: str, attachments: list[Attachment], modules: dict[str, nn.Module]
    ) -> None:
        """Add the fresh weights of one adapter.

        `modules`: the base's modules by path, to reach the entries of blocks.
        """
        weights = nn.ParameterDict()
        for attachment in attachments:
            for name, param in attachment.method.spec(attachment.site).items():
                weights[attachment.weight_name(name)] = nn.Parameter(param.new())
            self._connect(attachment.site, modules)
        device = device_of(self.base_layer)
        self.adaptkit_weights[adapter] = weights if _is_meta(weights) else weights.to(device)
        self.adaptkit_attachments[adapter] = attachments

    def serve(self) -> None:
        """Compute what a host computes: each method in its served form, with weights for it."""
        for adapter, attachments in self.adaptkit_attachments.items():
            weights, served = nn.ParameterDict(), []
            for one in attachments:
                given = {
                    name: self.adaptkit_weights[adapter][own].detach()
                    for name, own in one.weight_names.items()
                }
                for name, tensor in one.method.to_served(given).items():
                    weights[one.weight_name(name)] = nn.Parameter(tensor, requires_grad=False)
                served.append(dataclasses.replace(one, method=one.method.served()))
            self.adaptkit_weights[adapter] = weights
            self.adaptkit_attachments[adapter] = served

    def set_adapter(self, *args, **kwargs) -> None:
        super().set_adapter(*args, **kwargs)
        self.keep_frozen()

    def keep_frozen(self) -> None:
        """Freeze the parameters that must not train, even if PEFT has just enabled them."""
        for adapter, attachments in self.adaptkit_attachments.items():
            for attachment in attachments:
                for name, param in attachment.method.spec(attachment.site).items():
                    if param.frozen:
                        self.adaptkit_weights[adapter][attachment.weight_name(name)].requires_grad_(
                            False
                        )

    def _connect(self, site: Site, modules: dict[str, nn.Module]) -> None:
        if not site.entry:
            return
        entry = modules[site.entry]
        if site.kind == "attention":
            route(entry, self)
            self._attention = [entry]
        elif self._hook is None:
            self._hook = entry.register_forward_pre_hook(self._stream.put_input)

    def disconnect(self) -> None:
        """Undo all changes outside this layer."""
        if self._hook is not None:
            self._hook.remove()
        for attention in self._attention:
            unroute(attention)

    def attached(self, *kinds: str) -> Iterator[tuple[Attachment, Weights]]:
        """(attachment, its weights) of the active adapters at sites of these kinds, in order."""
        for adapter in self.active_adapters:
            for attachment in self.adaptkit_attachments.get(adapter, ()):
                if attachment.site.kind in kinds:
                    yield attachment, self._weights(adapter, attachment)

    def _weights(self, adapter: str, attachment: Attachment) -> Weights:
        weights = self.adaptkit_weights[adapter]
        return lambda dtype: {
            name: weights[key].to(dtype) for name, key in attachment.weight_names.items()
        }

    @property
    def idle(self) -> bool:
        """No formula applies: adapters are disabled, or already merged into the base's weights."""
        return self.disable_adapters or self.merged

    def forward(self, x: Tensor, *args, **kwargs) -> Tensor:
        if self.disable_adapters and self.merged:
            self.unmerge()
        y = self.base_layer(x, *args, **kwargs)
        stream = self._stream.take()
        if self.idle:
            return y
        if self._attention:
            self._queries.put(x)
        return self.transform(x, y, stream)

    def transform(self, x: Tensor, y: Tensor, stream: Tensor | None = None) -> Tensor:
        """Apply every formula at this module: x `(..., in)`, y `(..., out)` -> `(..., out)`."""
        return transform(
            self.base_layer,
            self.attached("map", "block", "stream", "norm"),
            x,
            y,
            stream,
            self.training,
        )

    def join(self, y: KeyValues) -> KeyValues:
        """The keys and values with the columns of the active adapters in front."""
        x = self._queries.take()
        return (
            y
            if self.idle or x is None
            else join_key_values(self.attached("attention"), x, y, self.training)
        )

    def merge(self, safe_merge: bool = False, adapter_names: list[str] | None = None) -> None:
        """Merge the adapters into the base's weights; the old ones are kept, so `unmerge` is exact.

        The formulas are affine: the merged bias is their value at x = 0, y = b, and the merged
            weight
        follows from the unit vectors, x = I, y = W. So no method needs merge code of its own.
        """
        for adapter in check_adapters_to_merge(self, adapter_names):
            if adapter in self.adaptkit_weights:
                self._merge_one(adapter, safe_merge)
                self.merged_adapters.append(adapter)

    @torch.no_grad()
    def _merge_one(self, adapter: str, safe_merge: bool) -> None:
        base: Any = self.base_layer
        if self._unmerged is None:
            self._unmerged = (base.weight.data, None if base.bias is None else base.bias.data)
        active, self._active_adapter = self._active_adapter, [adapter]
        training, self.training = self.training, False
        columns = _is_transposed(base)
        weight = base.weight.data.float() if columns else base.weight.data.float().T  # (in, out)
        bias = weight.new_zeros(weight.shape[1]) if base.bias is None else base.bias.data.float()
        zero = weight.new_zeros(1, len(weight))
        new_bias = self.transform(zero, bias[None])[0]
        offset = self.transform(zero, torch.zeros_like(bias)[None])
        new_weight = self.transform(torch.eye(len(weight), device=weight.device), weight) - offset
        self._active_adapter, self.training = active, training
        if safe_merge and not (new_weight.isfinite().all() and new_bias.isfinite().all()):
            raise ValueError(f"merging adapter {adapter!r} gives weights that are not finite")
        base.weight.data = (
            (new_weight if columns else new_weight.T).to(base.weight.dtype).contiguous()
        )
        if base.bias is not None:
            base.bias.data = new_bias.to(base.weight.dtype)
        elif new_bias.any():
            base.bias = nn.Parameter(new_bias.to(base.weight.dtype), requires_grad=False)

    def unmerge(self) -> None:
        """Restore the base's weights, bit for bit if the model was not moved or cast meanwhile."""
        if self._unmerged is not None:
            layer: Any = self.base_layer
            now = layer.weight
            weight, bias = (
                None if one is None else one.to(now.device, now.dtype) for one in self._unmerged
            )
            layer.weight.data = weight
            if bias is None:
                layer.bias = None
            else:
                layer.bias.data = bias
        self._unmerged = None
        self.merged_adapters.clear()

    @property
    def weights_before_merging(self) -> dict[str, Tensor]:
        """The base's own weight and bias while adapters are merged into them, else empty."""
        weight, bias = self._unmerged or (None, None)
        return {
            name: tensor
            for name, tensor in (("weight", weight), ("bias", bias))
            if tensor is not None
        }

    def unload_and_optionally_merge_module(
        self, merge: bool, safe_merge: bool, adapter_names: list[str] | None
    ):
        """The module that PEFT puts back in place of this layer."""
        if merge:
            self.merge(safe_merge, adapter_names)
        elif self.merged:
            self.unmerge()
        self.disconnect()
        return self.base_layer


def _is_transposed(module: nn.Module) -> bool:
    from transformers.pytorch_utils import Conv1D

    return isinstance(module, Conv1D)


def _is_meta(weights: nn.ParameterDict) -> bool:
    return any(weight.is_meta for weight in weights.values())
