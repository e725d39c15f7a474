"""The table of architectures: where the sites of each model type are, as data."""

from __future__ import annotations

from adaptkit.errors import AdaptkitError
from adaptkit.models.sites import Stack


def _maps(*paths: str, gate: str = "") -> dict[str, str]:
    """Paths in the order q, k, v, out of the attention, then in, out of the feed-forward block."""
    names = ("attn.q", "attn.k", "attn.v", "attn.out", "ffn.in", "ffn.out")
    return dict(zip(names, paths, strict=True)) | ({"ffn.gate": gate} if gate else {})


def _cross(prefix: str, q: str, k: str, v: str, out: str) -> dict[str, str]:
    return {
        f"cross.{m}": f"{prefix}.{path}"
        for m, path in zip(["q", "k", "v", "out"], (q, k, v, out), strict=True)
    }


def _bert(
    q: str = "query", k: str = "key", v: str = "value", attn: str = "attention.self"
) -> Stack:
    inner = [f"attention.self.{m}" for m in (q, k, v)]
    maps = _maps(*inner, "attention.output.dense", "intermediate.dense", "output.dense")
    return Stack(
        "encoder.layer.*",
        maps,
        attn,
        ffn=("intermediate.dense", "output.dense"),
        norm="output.LayerNorm",
    )


def _llama(norm_in: str = "post_attention_layernorm", block_out: str = "mlp.down_proj") -> Stack:
    qkvo = [f"self_attn.{m}_proj" for m in "qkvo"]
    maps = _maps(*qkvo, "mlp.up_proj", "mlp.down_proj", gate="mlp.gate_proj")
    return Stack("layers.*", maps, "self_attn", ffn=(norm_in, block_out))


def _bart(side: str, post_norm: bool, cross: bool = False) -> Stack:
    qkvo = ("q_proj", "k_proj", "v_proj", "out_proj")
    maps = _maps(*(f"self_attn.{m}" for m in qkvo), "fc1", "fc2") | (
        _cross("encoder_attn", *qkvo) if cross else {}
    )
    entry, norm = ("fc1", "final_layer_norm") if post_norm else ("final_layer_norm", "")
    return Stack(
        f"{side}.layers.*", maps, "self_attn", "encoder_attn" if cross else "", (entry, "fc2"), norm
    )


def _t5(side: str, ffn: int, gated: bool) -> Stack:
    dense = f"layer.{ffn}.DenseReluDense"
    ffn_in, gate = (f"{dense}.wi_1", f"{dense}.wi_0") if gated else (f"{dense}.wi", "")
    maps = _maps(*(f"layer.0.SelfAttention.{m}" for m in "qkvo"), ffn_in, f"{dense}.wo", gate=gate)
    if side == "decoder":
        maps |= _cross("layer.1.EncDecAttention", *"qkvo")
    cross = "layer.1.EncDecAttention" if side == "decoder" else ""
    return Stack(
        f"{side}.block.*",
        maps,
        "layer.0.SelfAttention",
        cross,
        (f"layer.{ffn}.layer_norm", f"{dense}.wo"),
    )


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
    _maps(
        *(f"attn.Wqkv:{m}/qkv" for m in "qkv"),
        "attn.Wo",
        "mlp.Wi:in/gate,in",
        "mlp.Wo",
        gate="mlp.Wi:gate/gate,in",
    ),
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

# DeBERTa-v2 computes its attention scores itself, including relative positions, so its attention
# takes no learned keys: no `attn`.
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
    """Add (or replace) the table entry of a `model_type`, as in a model's `config.model_type`."""
    if not stacks or not all(isinstance(stack, Stack) for stack in stacks):
        raise AdaptkitError(
            f"register_architecture({model_type!r}, ...) wants one Stack or more; it got "
            f"{stacks!r}."
        )
    ARCHITECTURES[model_type] = stacks


def table_entry(config) -> tuple[Stack, ...] | None:
    """The stacks of a model configuration, or None when its architecture is not in the table."""
    name = config.model_type
    if name in ("t5", "mt5", "umt5"):
        name = "t5-gated" if config.is_gated_act else "t5"
    if name == "opt" and not config.do_layer_norm_before:
        name = "opt-post-norm"
    return ARCHITECTURES.get(name)
