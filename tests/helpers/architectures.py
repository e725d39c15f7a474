"""A small model of every architecture that transformers can build from a configuration.

Configurations are shrunk by the names of their settings, not one by one. `EXCEPTIONS` holds what a
name does not tell.
"""

from __future__ import annotations

import inspect
import re
from typing import Any

import torch
from transformers import CONFIG_MAPPING, AutoModel, PretrainedConfig
from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES

KINDS = tuple(sorted(MODEL_MAPPING_NAMES))

MOST_PARAMETERS = 1_500_000

# What a setting is in a small model, by its name. A smaller number than this stays.
WIDTH, INNER, LAYERS, HEADS, VOCABULARY = 32, 48, 2, 4, 99
SETTINGS: tuple[tuple[str, int], ...] = (
    (
        r"(.*_)?(intermediate_(size|dim)|ffn?_(hidden_)?(dim|size)|inner_dim|mlp_(dim|hidden_size))",
        INNER,
    ),
    (r"d_ff|n_inner|d_inner|feed_forward_dim|intermediate_size_mlp", INNER),
    (r"(.*_)?(hidden_(size|dim)|embed(ding)?_(size|dim)|projection_dim|proj_dim|model_dim)", WIDTH),
    (r"d_model|dim|n_embd|width|d_embed|emb_dim|classifier_proj_size|out(put)?_proj_dim", WIDTH),
    (r"(.*_)?num_(hidden_|encoder_|decoder_)?layers|(en|de)coder_layers|n_layers?|depth", LAYERS),
    (r"num_blocks|n_text_layers", LAYERS),
    (r"(.*_)?(num_)?attention_heads|n_heads?|(.*_)?num_heads", HEADS),
    (r"num_key_value_heads|num_kv_heads|n_kv_heads", HEADS // 2),
    (r"(.*_)?head_dim|d_kv|kv_channels|head_size|rotary_dim", WIDTH // HEADS),
    (r"num_frames|(.*_)?mel_bins|input_feat_per_channel", 8),
    (r"(.*_)?vocab_size", VOCABULARY),
    (r"image_size|img_size", 16),
    (r"patch_size", 8),
    (r"(.*_)?num_(local_|routed_)?experts|n_routed_experts", 4),
    (r"num_experts_per_tok(en)?|moe_top_k|top_k|moe_k", 2),
    (r"(.*_)?max_position_embeddings|max_(source|target)_positions|n_positions|max_seq_len", 64),
)
TOKENS = {"pad": 0, "bos": 1, "eos": 2, "decoder_start": 1, "sep": 2, "cls": 1, "mask": 3}
_SECTIONS = {
    "rope_parameters": {
        "rope_type": "default",
        "rope_theta": 10_000.0,
        "mrope_section": [1, 1, 2],
    }
}
_SECTIONS_BELOW = {"text_config": _SECTIONS}
_SOUND = {
    "conv_dim": (16, 16, 16),
    "conv_kernel": (10, 3, 3),
    "conv_stride": (5, 2, 2),
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}
_MAMBA = {"mamba_n_heads": 4, "mamba_d_head": 16, "mamba_d_state": 16}
_STAGES = {
    "embed_dim": 32,
    "depths": [1, 1],
    "num_heads": [2, 2],
    "window_size": 2,
    "patch_size": 2,
}
EXCEPTIONS: dict[str, dict[str, Any]] = {
    **dict.fromkeys(("wav2vec2", "hubert", "wavlm", "unispeech", "unispeech-sat"), _SOUND),
    **dict.fromkeys(("data2vec-audio", "wav2vec2-conformer", "sew", "sew-d"), _SOUND),
    **dict.fromkeys(("qwen2_vl", "qwen2_5_vl", "glm4v", "glm_ocr"), _SECTIONS_BELOW),
    **dict.fromkeys(("qwen2_vl_text", "qwen2_5_vl_text", "glm4v_text", "glm_ocr_text"), _SECTIONS),
    **dict.fromkeys(("swin", "swinv2", "maskformer-swin", "donut-swin"), _STAGES),
    "bamba": {**_MAMBA, "attn_layer_indices": [1]},
    "esm": {"vocab_size": VOCABULARY},
    "falcon_h1": {**_MAMBA, "mamba_d_ssm": 64, "mamba_n_groups": 1, "mamba_chunk_size": 8},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "granitemoehybrid": {**_MAMBA, "layer_types": ["mamba", "attention"]},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1},
    "layoutlmv3": {"coordinate_size": 6, "shape_size": 4, "input_size": 16},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"]},
    "lilt": {"hidden_size": 48},
    "markuplm": {"max_depth": 4, "xpath_unit_hidden_size": 8},
    "mobilebert": {"true_hidden_size": 32, "intra_bottleneck_size": 32},
    "nemotron": {"num_key_value_heads": 2, "head_dim": 8},
    "vit_mae": {"mask_ratio": 0.0},  # it would mask at random
    "xmod": {"languages": ["en_XX"], "default_language": "en_XX"},
    "yolos": {"image_size": [16, 16]},
}


class NotBuiltError(Exception):
    """No small model of this kind can be built or fed here, and why."""


def small_config(kind: str) -> PretrainedConfig:
    """The configuration of `kind` with small numbers in it."""
    default = CONFIG_MAPPING[kind]()
    settings = _small(default)
    for name, value in EXCEPTIONS.get(kind, {}).items():
        inner = settings.get(name)
        settings[name] = {**inner, **value} if isinstance(inner, dict) else value
    return type(default)(**settings)


def _small(default: PretrainedConfig) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in vars(default).items():
        if isinstance(value, PretrainedConfig):
            found[name] = _small(value)
        elif name.removesuffix("_token_id") in TOKENS and name.endswith("_token_id"):
            found[name] = TOKENS[name.removesuffix("_token_id")]
        elif isinstance(value, float) and re.search("drop|mask_.*prob", name):
            found[name] = 0.0
        elif name == "apply_spec_augment":
            found[name] = False
        elif isinstance(value, int) and not isinstance(value, bool):
            if re.search(r"token_(id|index)$|_token$", name) and value >= VOCABULARY - 9:
                found[name] = VOCABULARY - 9
            for pattern, number in SETTINGS:
                if re.fullmatch(pattern, name):
                    found[name] = number if re.search("head|dim", name) else min(value, number)
                    break
    kinds = list(dict.fromkeys(getattr(default, "layer_types", None) or ()))
    computed = isinstance(getattr(type(default), "layer_types", None), property)
    if len(kinds) > 1 and "num_hidden_layers" in found and not computed:  # a layer of each kind
        found |= {"layer_types": kinds, "num_hidden_layers": len(kinds)}
    return found


def small_model(kind: str, seed: int = 0) -> Any:
    """A small model whose norms and biases are random too, the same for the same seed.

    Raises:
        NotBuiltError: transformers cannot build it, or it is large however small its settings.
    """
    try:
        config = small_config(kind)
        with torch.device("meta"):
            size = sum(p.numel() for p in AutoModel.from_config(config).parameters())
        if size > MOST_PARAMETERS:
            raise NotBuiltError(f"{size:,} parameters")
        torch.manual_seed(seed)
        model = AutoModel.from_config(config, dtype=torch.float32)
    except NotBuiltError:
        raise
    except Exception as problem:  # whatever transformers raises
        raise NotBuiltError(f"{type(problem).__name__}: {problem}".splitlines()[0][:160]) from None
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim < 2:
                parameter.add_(torch.randn_like(parameter) * 0.1)
            elif not parameter.isfinite().all() or "embed" not in name:
                parameter.copy_(torch.randn_like(parameter) * 0.2)
    return model.eval()


def small_batch(model: Any) -> dict[str, Any]:
    """Inputs that the model reads: tokens, pixels or sound, the first form that works.

    Raises:
        NotBuiltError: none does.
    """
    problems = []
    for names in FORMS:
        batch = {name: _tensor(name, model) for name in names if name in _parameters(model)}
        if not batch or batch.keys() & MAIN != set(names) & MAIN:
            continue
        upright = (
            {"input_features": batch["input_features"].mT} if "input_features" in batch else {}
        )
        for form in (batch, batch | upright):
            try:
                outputs, again = (_outputs(model, form, seed) for seed in (0, 1))
                if not outputs or not all(one.isfinite().all() for one in outputs):
                    problems.append("the outputs are not finite")
                elif not all(map(torch.equal, outputs, again)):
                    problems.append("the outputs are random")
                else:
                    return form
            except Exception as problem:  # whatever the model raises
                problems.append(f"{type(problem).__name__}: {problem}".splitlines()[0][:120])
    raise NotBuiltError(f"it takes none of the inputs tried: {'; '.join(problems[:2])}")


def _outputs(model: Any, batch: dict[str, Any], seed: int) -> list[torch.Tensor]:
    torch.manual_seed(seed)
    with torch.no_grad():
        return tensors_of(model(**batch))


MAIN = {"input_ids", "pixel_values", "input_values", "input_features", "inputs_embeds"}
_TEXT = ("input_ids", "attention_mask", "decoder_input_ids", "bbox")
FORMS = (
    ("input_ids", "attention_mask", "pixel_values"),
    _TEXT,
    ("pixel_values",),
    ("input_features", "decoder_input_ids"),
    ("input_values", "decoder_input_ids"),
    ("inputs_embeds",),
)


def _parameters(model: Any) -> list[str]:
    return list(inspect.signature(model.forward).parameters)


def _tensor(name: str, model: Any) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    if name == "attention_mask":
        return torch.ones(2, 8, dtype=torch.long)
    if name.endswith("input_ids"):
        return torch.randint(4, VOCABULARY - 10, (2, 8), generator=generator)
    if name == "bbox":
        return torch.randint(0, 9, (2, 8, 4), generator=generator).sort(-1).values
    config = model.config
    if name == "pixel_values":
        config = getattr(config, "vision_config", config)
        side = getattr(config, "image_size", 16)
        height, width = side if isinstance(side, (list, tuple)) else (side, side)
        frames = (config.num_frames,) if hasattr(config, "num_frames") else ()
        shape = (2, *frames, getattr(config, "num_channels", 3) or 3, height, width)
    elif name == "inputs_embeds":
        shape = (2, 8, WIDTH)
    elif name == "input_values":
        spectrum = hasattr(config, "num_mel_bins") and hasattr(config, "max_length")
        shape = (2, config.max_length, config.num_mel_bins) if spectrum else (2, 2000)
    else:
        config = getattr(config, "encoder_config", config)
        named = ("num_mel_bins", "feature_projection_input_dim", "input_feat_per_channel")
        sizes = [getattr(config, name) for name in named if getattr(config, name, None)]
        shape = (2, getattr(config, "max_source_positions", 32) * 2, (sizes or [80])[-1])
    return torch.randn(shape, generator=generator)


def tensors_of(outputs: Any) -> list[torch.Tensor]:
    """All floating tensors in the outputs of a model, in order, caches apart."""
    if isinstance(outputs, torch.Tensor):
        return [outputs] if outputs.is_floating_point() else []
    if isinstance(outputs, dict):
        outputs = [one for key, one in outputs.items() if "past" not in key and "cache" not in key]
    if isinstance(outputs, (list, tuple)):
        return [tensor for one in outputs for tensor in tensors_of(one)]
    return []
