"""AdapterHub's bottlenecks (`seq_bn`, `double_seq_bn`, `par_bn`) as `Bottleneck`.

With h the output of a block, r the residual stream that entered it, and LN the norm behind it (no
norm in pre-norm models), that library computes

    original_ln_before                            LN(h + f(LN(h + r)) + r)     our pfeiffer
    neither                                       LN(h + f(h) + r)             our houlsby
    is_parallel                                   LN(h + f(r) + r)             our parallel

Other settings of its norms and residuals are other formulas, and are refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from adaptkit.adapters.adapterhub.folder import SavedAdapter
from adaptkit.adapters.adapterhub.pieces import Piece
from adaptkit.adapters.adapterhub.places import Places
from adaptkit.methods.bottleneck import Bottleneck

_LOCATIONS = {"mh_adapter": "attn.out", "cross_adapter": "cross.out", "output_adapter": "ffn.out"}
_SITES = {"pfeiffer": "layer", "parallel": "ffn"}
_NAMES = {
    "adapter_down.0.weight": "down",
    "adapter_down.0.bias": "down_bias",
    "adapter_up.weight": "up",
    "adapter_up.bias": "up_bias",
}

# Where a base's bottlenecks were compared with ours: in these at every placement,
_COMPARED = (
    *("bart", "bert", "deberta-v2", "distilbert", "electra", "gpt2", "llama", "mbart", "mistral"),
    *("mt5", "qwen2", "qwen3", "roberta", "t5", "whisper", "xlm-roberta"),
)
# and in these at some: the library gives others another tensor than the residual stream, or, at the
# attention of ALBERT, that stream instead of the block's output.
_ONLY = {
    "albert": (("houlsby", "ffn.out"), ("pfeiffer", "ffn.out"), ("parallel", "ffn.out")),
    "gemma2": (("houlsby", "attn.out"), ("houlsby", "ffn.out")),
    "gemma3_text": (("houlsby", "attn.out"), ("houlsby", "ffn.out")),
    "gptj": (("houlsby", "attn.out"), ("houlsby", "ffn.out")),
    "phi": (("houlsby", "attn.out"), ("houlsby", "ffn.out")),
}

_ACTIVATIONS = {"leakyrelu": "leaky_relu"}
_LEGACY_ACTIVATIONS = {"gelu": "gelu_new", "gelu_orig": "gelu"}  # in folders without a version

# setting -> (the values that change nothing, what it is otherwise)
_NOT_OURS: dict[str, tuple[tuple[Any, ...], str]] = {
    "phm_layer": ((False, None), "a Compacter (phm_layer)"),
    "use_gating": ((False, None), "gated by the mean over a sentence (use_gating)"),
    "ln_before": ((False, None), "a norm of its own before the bottleneck (ln_before)"),
    "ln_after": ((False, None), "a norm of its own behind the bottleneck (ln_after)"),
    "new_attention_norm": ((False, None), "a norm of its own (new_attention_norm)"),
    "original_ln_after": ((True, None), "without the norm and residual behind it"),
}


def bottleneck_pieces(saved: SavedAdapter, config: dict[str, Any], places: Places) -> list[Piece]:
    """Take the tensors of one bottleneck configuration from `saved`, and convert them.

    Raises:
        AdaptkitError: the formula is not one of ours, or a tensor is missing or misshapen.
    """
    _check_formula(saved, config)
    owners = {
        places.bottleneck(saved, owner): (kind, owner)
        for kind, owner in saved.groups
        if kind == "adapters"
    }
    pieces = []
    for location, name in _LOCATIONS.items():
        for layer in places.kept(config.get("leave_out") or []) if config.get(location) else ():
            if places.site(layer, name) is None:  # an encoder has no cross-attention
                continue
            if (layer, name) not in owners:
                raise saved.refused(f"its weights lack the bottleneck behind {name} of {layer}.")
            group = saved.groups.pop(owners[layer, name])
            placement = _placement(saved, config, name)
            site = places.site(layer, _SITES.get(placement, name))
            if site is None:
                raise saved.refused(f"{layer} of this base has no site for {placement}.")
            method = _method(saved, config, placement, places.layers.index(layer))
            pieces.append(Piece(site, method, _weights(saved, config, group, layer)))
    return pieces


def _check_formula(saved: SavedAdapter, config: dict[str, Any]) -> None:
    """Refuse what `Bottleneck` does not compute."""
    for setting, (harmless, what) in _NOT_OURS.items():
        if setting in config and config[setting] not in harmless:
            raise saved.refused(f"it is {what}, which no method of adaptkit's computes.")
    if any(kind == "invertible_adapters" for kind, _ in saved.groups):
        raise saved.refused("it has invertible adapters behind the embeddings (inv_adapter).")
    old_task = saved.content.get("type") == "text_task"  # these name them and do not use them
    if config.get("inv_adapter") and not old_task:
        raise saved.refused("its weights lack the invertible adapters (inv_adapter).")


def _placement(saved: SavedAdapter, config: dict[str, Any], name: str) -> str:
    """The placement of ours that computes the same behind the site `name`."""
    parallel, before = bool(config.get("is_parallel")), bool(config.get("original_ln_before"))
    placement = "parallel" if parallel else "pfeiffer" if before else "houlsby"
    if placement != "houlsby" and name != "ffn.out":
        raise saved.refused(
            f"it has {placement} bottlenecks at the attention; adaptkit has them at the "
            "feed-forward block only."
        )
    kind = str(saved.content.get("model_type"))
    if kind not in _COMPARED and (placement, name) not in _ONLY.get(kind, ()):
        raise saved.refused(
            f"in {kind[:80]!r} that library's {placement} bottlenecks behind {name} read another "
            "tensor than adaptkit's, or were never compared."
        )
    if placement == "pfeiffer" and config.get("residual_before_ln", True) is not True:
        raise saved.refused(
            f"residual_before_ln is {config['residual_before_ln']!r}: its residual begins behind "
            "the norm, which no placement of adaptkit's does."
        )
    return placement


def _method(saved: SavedAdapter, config: dict[str, Any], placement: str, layer: int) -> Bottleneck:
    reduction = config.get("reduction_factor")
    if isinstance(reduction, Mapping):
        reduction = reduction.get(str(layer), reduction.get("default"))
    activation = str(config.get("non_linearity")).lower()
    if "version" not in saved.content:
        activation = _LEGACY_ACTIVATIONS.get(activation, activation)
    if activation == "prelu":
        raise saved.refused("its activation has a weight of its own (prelu).")
    scaling = config.get("scaling", 1.0)
    if not isinstance(reduction, (int, float)) or not (
        isinstance(scaling, (int, float)) or scaling in ("learned", "channel")
    ):
        raise saved.refused(f"reduction_factor is {reduction!r} and scaling {scaling!r}.")
    return Bottleneck(
        placement=placement,
        reduction=float(reduction),
        activation=_ACTIVATIONS.get(activation, activation),
        scale="1.0" if scaling == "channel" else str(scaling),
    )


def _weights(
    saved: SavedAdapter, config: dict[str, Any], group: dict[str, Tensor], layer: str
) -> dict[str, Tensor]:
    """Our parameters. A scale for each channel is folded into the upper map."""
    scaling = config.get("scaling", 1.0)
    needed = {*_NAMES, *(("scaling",) if scaling in ("learned", "channel") else ())}
    if group.keys() != needed:
        wrong = sorted(group.keys() ^ needed)[0]
        raise saved.refused(f"{wrong!r} of {layer} is missing, or belongs nowhere.")
    ours = {name: group[theirs] for theirs, name in _NAMES.items()}
    if scaling == "learned":
        ours["scale"] = group["scaling"]
    elif scaling == "channel":
        ours["up"] = ours["up"] * group["scaling"][:, None]
        ours["up_bias"] = ours["up_bias"] * group["scaling"]
    return ours
