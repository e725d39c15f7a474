"""From token ids to a trainable model: the base with the task's head and a fresh adapter."""

from __future__ import annotations

from typing import Any

from transformers import set_seed

from adaptkit.adapters.full import FULL, unfreeze
from adaptkit.adapters.fuse import fill
from adaptkit.adapters.inject import adapt
from adaptkit.adapters.warm_start import warm_start
from adaptkit.heads.start import HeadStart
from adaptkit.methods.grammar import PRESETS
from adaptkit.models.backbone import bare_model
from adaptkit.models.language.router import left_out
from adaptkit.models.load import load_base
from adaptkit.models.probe import check_packing
from adaptkit.models.tokenizer import align_padding
from adaptkit.recipe.auto import announce, choose_activation_cache, choose_attention, describe_dtype
from adaptkit.recipe.head import settle_pooling, start_head, with_pooling
from adaptkit.recipe.steps import Encoded, Loaded, Shared
from adaptkit.training.fastest_attention import AttentionChoice
from adaptkit.utils.processes import log_main


def load(encoded: Encoded, shared: Shared | None = None) -> Loaded:
    """Load the base, inject the adapter, choose the attention and the activation cache.

    Args:
        shared: the choices and activation cache of another training of the same recipe, to be
            reused.
    """
    prepared = encoded.prepared
    attention = shared.attention if shared else announce(choose_attention(encoded))
    method = str(prepared.arguments.method)
    model, encoded, head_start = new_model(encoded, method, attention)
    prepared = encoded.prepared
    announce(describe_dtype(model, prepared.training))
    cache = shared.cache if shared else None
    if cache is None:
        cache = announce(choose_activation_cache(encoded, model))
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    everything = sum(parameter.numel() for parameter in model.parameters())
    log_main(f"base {prepared.base}, method {PRESETS.get(method, method)}")
    share = f"{trained:,} of {everything:,} parameters ({trained / everything:.2%})"
    log_main(f"training {share} on {len(prepared.splits.train)} rows")
    return Loaded(encoded, model, Shared(attention, cache), head_start)


def new_model(
    encoded: Encoded, method: str, attention: AttentionChoice | None
) -> tuple[Any, Encoded, HeadStart | None]:
    """The base with the task's head and a fresh adapter; the same seed gives the same weights.

    Returns:
        The model; the rows with the task as it is settled; and how the head was started.
    """
    encoded, poolings = settle_pooling(encoded)
    prepared = encoded.prepared
    arguments, task = prepared.arguments, prepared.task
    set_seed(prepared.training.seed)
    what = arguments.train if arguments.train != "adapter" else FULL
    # models that support sdpa choose it by default
    chosen = "eager" if attention and attention.name == "eager" else None
    base = load_base(
        prepared.base,
        task=task.auto_class,
        labels=task.labels or None,
        quantize=arguments.quantize,
        dtype=arguments.dtype,
        revision=arguments.model_revision,
        attn_implementation=arguments.attn_implementation or chosen,
        base_dropout=arguments.base_dropout or (method == FULL and what == FULL),
    )
    align_padding(base, encoded.tokenizer)
    head_start = start_head(base, encoded, poolings)
    if head_start and head_start.pooling:
        encoded = with_pooling(encoded, head_start.pooling)
    model = unfreeze(base, what) if method == FULL else adapt(base, method)
    if arguments.fuse:
        fill(model, arguments.fuse)
    if arguments.warm_start:
        fresh = warm_start(model, arguments.warm_start, task.labels)
        without = f"; its head is not used ({len(fresh)} tensors)" if fresh else ""
        log_main(f"warm start from {arguments.warm_start}{without}")
    if getattr(task, "packing", False):
        check_packing(model)
    if note := left_out(bare_model(model)):
        log_main(note)
    return model, encoded, head_start
