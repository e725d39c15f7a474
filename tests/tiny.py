"""Tiny random models of every architecture in the table, with nothing left at a value that hides
mistakes.
"""

import torch
from transformers import CONFIG_MAPPING, AutoModel

_ENCODER = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
}
_ENCODER |= {"vocab_size": 100, "pad_token_id": 0}
_TOKENS = {"bos_token_id": 1, "eos_token_id": 2}
_DECODER = {**_ENCODER, **_TOKENS, "num_key_value_heads": 2}
_BOTH = {
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "vocab_size": 100,
    "pad_token_id": 0,
    **_TOKENS,
    "decoder_start_token_id": 1,
}
_T5 = {
    "d_model": 32,
    "d_kv": 6,
    "d_ff": 48,
    "num_layers": 2,
    "num_heads": 4,
    "vocab_size": 100,
    "pad_token_id": 0,
    "decoder_start_token_id": 0,
}
_OPT = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "ffn_dim": 48,
    "vocab_size": 100,
    "pad_token_id": 0,
    "word_embed_proj_dim": 32,
    **_TOKENS,
}

CONFIGS: dict[str, tuple[str, dict]] = {
    "bert": ("bert", _ENCODER),
    "roberta": ("roberta", _ENCODER | _TOKENS),
    "xlm-roberta": ("xlm-roberta", _ENCODER | _TOKENS),
    "electra": ("electra", {**_ENCODER, "embedding_size": 16}),
    "distilbert": (
        "distilbert",
        {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48, "vocab_size": 100},
    ),
    "albert": ("albert", {**_ENCODER, **_TOKENS, "embedding_size": 16}),
    "deberta-v2": (
        "deberta-v2",
        {**_ENCODER, "relative_attention": True, "pos_att_type": ["c2p", "p2c"]},
    ),
    "modernbert": (
        "modernbert",
        {**_ENCODER, **_TOKENS, "cls_token_id": 1, "sep_token_id": 2, "local_attention": 8},
    ),
    "gpt2": (
        "gpt2",
        {"n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": 100, "pad_token_id": 0, **_TOKENS},
    ),
    "opt": ("opt", _OPT),
    "opt-post-norm": ("opt", {**_OPT, "do_layer_norm_before": False}),
    "llama": ("llama", _DECODER),
    "mistral": ("mistral", _DECODER),
    "qwen2": ("qwen2", _DECODER),
    "qwen3": ("qwen3", {**_DECODER, "head_dim": 8}),
    "gemma2": ("gemma2", {**_DECODER, "head_dim": 8, "sliding_window": 8}),
    "gemma3": ("gemma3_text", {**_DECODER, "head_dim": 8, "sliding_window": 8}),
    "phi3": ("phi3", _DECODER),
    "t5": ("t5", _T5),
    "mt5": ("mt5", {**_T5, "feed_forward_proj": "gated-gelu"}),
    "bart": ("bart", _BOTH),
    "mbart": ("mbart", _BOTH),
    "marian": ("marian", _BOTH),
    "pegasus": ("pegasus", _BOTH),
    "m2m_100": ("m2m_100", _BOTH),
    "vit": (
        "vit",
        {k: v for k, v in _ENCODER.items() if k not in ("vocab_size", "pad_token_id")}
        | {"image_size": 16, "patch_size": 8},
    ),
    "whisper": ("whisper", {**_BOTH, "num_mel_bins": 8, "max_source_positions": 16}),
}
LAW_ARCHITECTURES = (
    "bert",
    "roberta",
    "distilbert",
    "deberta-v2",
    "modernbert",
    "gpt2",
    "llama",
    "t5",
    "bart",
    "vit",
)


def tiny(name: str, auto=AutoModel, seed: int = 0, attn: str | None = None, **more):
    """A tiny model whose every parameter, norms and biases too, is random."""
    kind, settings = CONFIGS[name]
    torch.manual_seed(seed)
    config = CONFIG_MAPPING[kind](**{**settings, **more})
    model = auto.from_config(config, **({"attn_implementation": attn} if attn else {}))
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if parameter.ndim < 2:
                parameter.add_(torch.randn_like(parameter) * 0.3)
            elif "embed" not in key:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    return model.eval()


def inputs(name: str, rows: int = 3, length: int = 9, seed: int = 1) -> dict[str, torch.Tensor]:
    """A batch for the bare model."""
    generator = torch.Generator().manual_seed(seed)
    if name == "vit":
        return {"pixel_values": torch.randn(rows, 3, 16, 16, generator=generator)}
    ids = torch.randint(3, 100, (rows, length), generator=generator)
    if name == "whisper":
        return {
            "input_features": torch.randn(rows, 8, 32, generator=generator),
            "decoder_input_ids": ids[:, :5],
        }
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    return batch | (
        {"decoder_input_ids": ids[:, :5]}
        if name in ("t5", "mt5", "bart", "mbart", "marian", "pegasus", "m2m_100")
        else {}
    )


def randomize(model, seed: int = 3, std: float = 0.2) -> None:
    """Random values for everything that trains or belongs to an adapter, so that no weight is at
    its harmless start.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            if parameter.requires_grad or "adaptkit_weights" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * std)


def first(outputs) -> torch.Tensor:
    """The first output of a model."""
    return outputs[0]
