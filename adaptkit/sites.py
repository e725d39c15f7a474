"""Where a model can be adapted: one table of names for each architecture, as data.

A *site* is a place in the base where something can be injected. Its name does not depend on the base:

    attn.q attn.k attn.v attn.out   the linear maps of self-attention      cross.q ... cross.out   of cross-attention
    ffn.in ffn.gate ffn.out         the linear maps of the feed-forward block
    attn, cross                     the attention itself: its input, and the keys and values that it attends to
    ffn                             the feed-forward block: the residual stream as it enters, and what the block adds
    layer                           the residual stream as it leaves the block, and its norm in post-norm models

Paths are relative to one layer. `qkv.q` style parts, `"attn.c_attn:q/qkv"`, say that one module carries several sites: here
the rows `q` of a projection that packs q, k and v. The numbers of heads give the widths of the parts.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from adaptkit.errors import AdaptkitError

if TYPE_CHECKING:
    from torch import nn

_MAPS = ("q", "k", "v", "out")
LINEAR_SITES = (*(f"attn.{m}" for m in _MAPS), *(f"cross.{m}" for m in _MAPS), "ffn.in", "ffn.gate", "ffn.out")
SITE_NAMES = (*LINEAR_SITES, "attn", "cross", "ffn", "layer")


@dataclass(frozen=True)
class Stack:
    """One stack of equal layers.

    `layers`: path of the layers below the backbone, `*` for the index. `maps`: linear site -> path below a layer.
    `attn`, `cross`: the attention modules (they must call transformers' attention interface; leave empty if they do not).
    `ffn`: (module whose input is the residual stream entering the block, module whose output the block adds to it).
    `norm`: the norm that follows the residual add, for post-norm models only.
    """

    layers: str
    maps: dict[str, str] = field(default_factory=dict)
    attn: str = ""
    cross: str = ""
    ffn: tuple[str, str] | None = None
    norm: str = ""


@dataclass(frozen=True)
class Site:
    """One site of one model. `kind` says what the formula reads there: see `adaptkit.layers`."""

    name: str
    module: str  # full path of the module that is wrapped
    layer: int
    depth: int  # how many layers its stack has
    kind: str  # "map" | "block" | "stream" | "norm" | "attention": what the formula reads and changes here
    width_in: int
    width_out: int
    part: tuple[int, int] | None = None  # the columns of the output that belong to this site, when the module is shared
    entry: str = ""  # "block", "stream": path of the module that the residual stream enters; "attention": of the attention
    heads: int = 0  # "attention": key-value heads

    @property
    def key(self) -> str:
        """The name without dots, for use inside parameter names."""
        return self.name.replace(".", "_")


def _maps(*paths: str, gate: str = "") -> dict[str, str]:
    """Paths in the order q, k, v, out of the attention, then in, out of the feed-forward block."""
    names = ("attn.q", "attn.k", "attn.v", "attn.out", "ffn.in", "ffn.out")
    return dict(zip(names, paths, strict=True)) | ({"ffn.gate": gate} if gate else {})


def _cross(prefix: str, q: str, k: str, v: str, out: str) -> dict[str, str]:
    return {f"cross.{m}": f"{prefix}.{path}" for m, path in zip(["q", "k", "v", "out"], (q, k, v, out), strict=True)}


def _bert(q: str = "query", k: str = "key", v: str = "value", attn: str = "attention.self") -> Stack:
    inner = [f"attention.self.{m}" for m in (q, k, v)]
    maps = _maps(*inner, "attention.output.dense", "intermediate.dense", "output.dense")
    return Stack("encoder.layer.*", maps, attn, ffn=("intermediate.dense", "output.dense"), norm="output.LayerNorm")


def _llama(norm_in: str = "post_attention_layernorm", block_out: str = "mlp.down_proj") -> Stack:
    qkvo = [f"self_attn.{m}_proj" for m in "qkvo"]
    maps = _maps(*qkvo, "mlp.up_proj", "mlp.down_proj", gate="mlp.gate_proj")
    return Stack("layers.*", maps, "self_attn", ffn=(norm_in, block_out))


def _bart(side: str, post_norm: bool, cross: bool = False) -> Stack:
    qkvo = ("q_proj", "k_proj", "v_proj", "out_proj")
    maps = _maps(*(f"self_attn.{m}" for m in qkvo), "fc1", "fc2") | (_cross("encoder_attn", *qkvo) if cross else {})
    entry, norm = ("fc1", "final_layer_norm") if post_norm else ("final_layer_norm", "")
    return Stack(f"{side}.layers.*", maps, "self_attn", "encoder_attn" if cross else "", (entry, "fc2"), norm)


def _t5(side: str, ffn: int, gated: bool) -> Stack:
    dense = f"layer.{ffn}.DenseReluDense"
    ffn_in, gate = (f"{dense}.wi_1", f"{dense}.wi_0") if gated else (f"{dense}.wi", "")
    maps = _maps(*(f"layer.0.SelfAttention.{m}" for m in "qkvo"), ffn_in, f"{dense}.wo", gate=gate)
    if side == "decoder":
        maps |= _cross("layer.1.EncDecAttention", *"qkvo")
    cross = "layer.1.EncDecAttention" if side == "decoder" else ""
    return Stack(f"{side}.block.*", maps, "layer.0.SelfAttention", cross, (f"layer.{ffn}.layer_norm", f"{dense}.wo"))


_DISTILBERT = Stack(
    "transformer.layer.*",
    _maps(*(f"attention.{m}_lin" for m in ("q", "k", "v", "out")), "ffn.lin1", "ffn.lin2"),
    "attention",
    ffn=("ffn.lin1", "ffn.lin2"),
    norm="output_layer_norm",
)
_ALBERT = Stack(
    "encoder.albert_layer_groups.*.albert_layers.*",
    _maps(*(f"attention.{m}" for m in ("query", "key", "value", "dense")), "ffn", "ffn_output"),
    "attention",
    ffn=("ffn", "ffn_output"),
    norm="full_layer_layer_norm",
)
_MODERNBERT = Stack(
    "layers.*",
    _maps(*(f"attn.Wqkv:{m}/qkv" for m in "qkv"), "attn.Wo", "mlp.Wi:in/gate,in", "mlp.Wo", gate="mlp.Wi:gate/gate,in"),
    "attn",
    ffn=("mlp_norm", "mlp.Wo"),
)
_GPT2 = Stack(
    "h.*",
    _maps(*(f"attn.c_attn:{m}/qkv" for m in "qkv"), "attn.c_proj", "mlp.c_fc", "mlp.c_proj"),
    "attn",
    ffn=("ln_2", "mlp.c_proj"),
)
_PHI3 = Stack(
    "layers.*",
    _maps(
        *(f"self_attn.qkv_proj:{m}/qkv" for m in "qkv"),
        "self_attn.o_proj",
        "mlp.gate_up_proj:in/gate,in",
        "mlp.down_proj",
        gate="mlp.gate_up_proj:gate/gate,in",
    ),
    "self_attn",
    ffn=("post_attention_layernorm", "mlp.down_proj"),
)
_VIT = Stack(
    "layers.*",
    _maps(*(f"attention.{m}_proj" for m in "qkvo"), "mlp.fc1", "mlp.fc2"),
    "attention",
    ffn=("layernorm_after", "mlp.fc2"),
)

# DeBERTa-v2 computes its scores itself, with relative positions in them, so its attention takes no learned keys: no `attn`.
_DEBERTA_V2 = _bert("query_proj", "key_proj", "value_proj", attn="")
_GEMMA = _llama("pre_feedforward_layernorm", "post_feedforward_layernorm")

ARCHITECTURES: dict[str, tuple[Stack, ...]] = {
    "bert": (_bert(),),
    "roberta": (_bert(),),
    "xlm-roberta": (_bert(),),
    "electra": (_bert(),),
    "distilbert": (_DISTILBERT,),
    "albert": (_ALBERT,),
    "deberta-v2": (_DEBERTA_V2,),
    "modernbert": (_MODERNBERT,),
    "gpt2": (_GPT2,),
    "opt": (_bart("decoder", post_norm=False),),
    "opt-post-norm": (_bart("decoder", post_norm=True),),
    "llama": (_llama(),),
    "mistral": (_llama(),),
    "qwen2": (_llama(),),
    "qwen3": (_llama(),),
    "gemma2": (_GEMMA,),
    "gemma3_text": (_GEMMA,),
    "gemma3": (dataclasses.replace(_GEMMA, layers="language_model.layers.*"),),
    "phi3": (_PHI3,),
    "t5": (_t5("encoder", 1, False), _t5("decoder", 2, False)),
    "t5-gated": (_t5("encoder", 1, True), _t5("decoder", 2, True)),
    "bart": (_bart("encoder", True), _bart("decoder", True, cross=True)),
    "mbart": (_bart("encoder", False), _bart("decoder", False, cross=True)),
    "marian": (_bart("encoder", True), _bart("decoder", True, cross=True)),
    "pegasus": (_bart("encoder", False), _bart("decoder", False, cross=True)),
    "m2m_100": (_bart("encoder", False), _bart("decoder", False, cross=True)),
    "vit": (_VIT,),
    "whisper": (_bart("encoder", False), _bart("decoder", False, cross=True)),
}


def register_architecture(model_type: str, *stacks: Stack) -> None:
    """Add (or replace) the table entry of `model_type`, the name in a model's `config.model_type`."""
    if not stacks or not all(isinstance(stack, Stack) for stack in stacks):
        raise AdaptkitError(f"register_architecture({model_type!r}, ...) wants one Stack or more; it got {stacks!r}.")
    ARCHITECTURES[model_type] = stacks


def table_entry(config) -> tuple[Stack, ...] | None:
    """The stacks of a model configuration, or None when its architecture is not in the table."""
    name = config.model_type
    if name in ("t5", "mt5", "umt5"):
        name = "t5-gated" if config.is_gated_act else "t5"
    if name == "opt" and not config.do_layer_norm_before:
        name = "opt-post-norm"
    return ARCHITECTURES.get(name)


def find_sites(model: nn.Module) -> list[Site]:
    """Every site of `model` (a transformers model, any head), in the order of its layers.

    Raises:
        AdaptkitError: the architecture is neither in the table nor clear from its structure.
    """
    stacks, modules, prefix = _stacks(model)
    found = []
    for stack, layers in stacks:
        for index, layer in enumerate(layers):
            found += _layer_sites(stack, modules, layer, (index, len(layers)), prefix, model.config)
    if not found:
        tried = ", ".join(stack.layers for stack, _ in stacks)
        raise AdaptkitError(
            f"{type(model).__name__} ({model.config.model_type}) has no layers at {tried}; call "
            "adaptkit.register_architecture with the paths of this model."
        )
    return found


def first_layers(model: nn.Module) -> list[nn.Module]:
    """The layers of the stack that reads the text, in order: the encoder's where there is one."""
    stacks, modules, _ = _stacks(model)
    return [modules[name] for name in stacks[0][1]]


def layer_paths(model: nn.Module) -> list[tuple[Stack, list[str]]]:
    """Each stack with the paths of its layers below the backbone, in order."""
    return _stacks(model)[0]


def last_layer(model: nn.Module) -> tuple[nn.Module | None, list[Site]]:
    """The layer that runs last, with its sites; None where layers are shared, or where two stacks read each other."""
    stacks, modules, prefix = _stacks(model)
    layers = stacks[-1][1]
    if len(stacks) > 1 or len(layers) != getattr(model.config.get_text_config(), "num_hidden_layers", len(layers)):
        return None, []
    path = f"{prefix}{layers[-1]}."
    return modules[layers[-1]], [site for site in find_sites(model) if site.module.startswith(path)]


def _stacks(model: nn.Module) -> tuple[list[tuple[Stack, list[str]]], dict[str, nn.Module], str]:
    """Each stack with the paths of its layers below the backbone; the backbone's modules, and the prefix of its names."""
    from adaptkit.discover import discover

    backbone, prefix = backbone_of(model)
    modules = dict(backbone.named_modules())
    found = []
    for stack in table_entry(model.config) or discover(backbone, model.config):
        pattern = re.compile(re.escape(stack.layers).replace(r"\*", r"(\d+)"))
        found.append((stack, [name for name in modules if pattern.fullmatch(name)]))
    return found, modules, prefix


def backbone_of(model: nn.Module) -> tuple[nn.Module, str]:
    """The backbone of a task model and the prefix of its parameter names: `(model.bert, "bert.")`."""
    from torch import nn

    prefix = getattr(model, "base_model_prefix", "")
    backbone = getattr(model, prefix, None) if prefix else None
    return (backbone, prefix + ".") if isinstance(backbone, nn.Module) else (model, "")


def _layer_sites(stack: Stack, modules, layer: str, place: tuple[int, int], prefix: str, config) -> list[Site]:
    def path(name: str) -> str:
        return f"{prefix}{layer}.{name}"

    sites = []
    for name, target in stack.maps.items():
        target, _, part = target.partition(":")
        width_in, width_out = linear_shape(modules[f"{layer}.{target}"])
        columns = _part(part, width_out, config) if part else None
        width_out = columns[1] - columns[0] if columns else width_out
        sites.append(Site(name, path(target), *place, "map", width_in, width_out, columns))
    by_name = {site.name: site for site in sites}
    for name, target in (("attn", stack.attn), ("cross", stack.cross)):
        if target:
            queries, keys = by_name[f"{name}.q"], by_name[f"{name}.k"]
            heads = keys.width_out // _head_width(config, queries.width_out)
            width_in, width = queries.width_in, keys.width_out
            sites.append(Site(name, queries.module, *place, "attention", width_in, width, entry=path(target), heads=heads))
    if stack.ffn:
        entry, leave = map(path, stack.ffn)
        width = by_name["ffn.in"].width_in
        sites.append(Site("ffn", leave, *place, "block", width, width, entry=entry))
        if stack.norm:
            sites.append(Site("layer", path(stack.norm), *place, "norm", width, width))
        else:
            sites.append(Site("layer", leave, *place, "stream", width, width, entry=entry))
    return sites


def linear_shape(module: Any) -> tuple[int, int]:
    """(width in, width out) of a linear map: torch, transformers' Conv1D, or quantized; wrapped by PEFT or not."""
    module = getattr(module, "base_layer", module)
    if hasattr(module, "in_features"):
        return module.in_features, module.out_features
    return module.nx, module.nf  # transformers.pytorch_utils.Conv1D


def _part(part: str, width: int, config) -> tuple[int, int]:
    """The columns of one part of a packed projection: `q/qkv` by numbers of heads, `gate/gate,in` by halves."""
    name, _, layout = part.partition("/")
    if layout == "qkv":
        heads = config.num_attention_heads
        shares = {"q": heads, "k": _kv_heads(config), "v": _kv_heads(config)}
    else:
        shares = dict.fromkeys(layout.split(","), 1)
    unit = width // sum(shares.values())
    start = unit * sum(list(shares.values())[: list(shares).index(name)])
    return start, start + unit * shares[name]


def _kv_heads(config) -> int:
    return getattr(config, "num_key_value_heads", None) or config.num_attention_heads


def _head_width(config, query_width: int) -> int:
    return getattr(config, "head_dim", None) or getattr(config, "d_kv", None) or query_width // config.num_attention_heads
