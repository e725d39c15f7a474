"""Frozen layers change nothing: outputs and gradients of every architecture, first and later
passes, in memory and in files.
"""

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from adaptkit import AdaptkitError, adapt
from adaptkit.training.activation_cache import ActivationCache
from adaptkit.training.frozen_layers import FrozenLayers, frozen_layers
from tests.tiny import CONFIGS, first, inputs, randomize, tiny

HAS_TRUNK = sorted(set(CONFIGS) - {"vit", "whisper", "albert", "t5", "mt5"})
METHODS = (
    "lora[layers=1-]",
    "bottleneck[layers=last[1]]",
    "prefix[length=3,layers=1]+lora[layers=1]",
    "ia3[layers=1]",
    "bias[layers=1]+reft[layers=1]",
    "miss[r=8,layers=1]+vera[r=8,layers=1]",
)


def adapted(name, method="lora[layers=1-]", **more):
    model = adapt(tiny(name, **more), method, head=[])
    randomize(model)
    return model


def batch_of(name, padded=True, seed=1):
    batch = inputs(name, rows=4, length=9, seed=seed)
    if padded:
        batch["attention_mask"][1, 5:] = 0
        batch["attention_mask"][2, 7:] = 0
    return batch


def passed(model, batch):
    """The output where there is text, and the gradients of a loss over it."""
    model.zero_grad()
    out = first(model.train()(**batch))
    seen = (
        batch["attention_mask"].bool()
        if "decoder_input_ids" not in batch
        else torch.ones(out.shape[:2], dtype=torch.bool)
    )
    out[seen].square().mean().backward()
    return out[seen].detach(), {
        key: p.grad.clone() for key, p in model.named_parameters() if p.grad is not None
    }


def assert_same(one, other, **tolerance):
    torch.testing.assert_close(one[0], other[0], **tolerance)
    assert one[1].keys() == other[1].keys() != set()
    for key in one[1]:
        torch.testing.assert_close(one[1][key], other[1][key], **tolerance)


@pytest.mark.parametrize("name", HAS_TRUNK)
def test_outputs_and_gradients_are_those_without_it(name):
    model, batch = adapted(name), batch_of(name)
    _no_dropout(model)
    plain = passed(model, batch)
    cache = ActivationCache()
    frozen = FrozenLayers(model.get_base_model(), cache)
    frozen.check()
    with frozen:
        assert_same(passed(model, batch), plain, rtol=1e-5, atol=1e-6)
        assert len(cache) == 4
        assert_same(passed(model, batch), plain, rtol=1e-4, atol=1e-5)
    assert_same(passed(model, batch), plain, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["bert", "llama", "bart"])
def test_every_method_trains_over_it(name, method, tmp_path):
    model, batch = adapted(name, method), batch_of(name)
    _no_dropout(model)
    plain = passed(model, batch)
    cache = ActivationCache(tmp_path / "kept")
    with FrozenLayers(model.get_base_model(), cache):
        for _ in range(3):
            assert_same(passed(model, batch), plain, rtol=1e-4, atol=1e-5)
    assert cache.size > 0
    cache.clear()
    assert not list((tmp_path / "kept").iterdir())


@pytest.mark.parametrize("name", HAS_TRUNK)
def test_known_texts_skip_the_layers_in_any_company(name):
    """Rows that were seen in other batches, with other padding, are found; one unknown row runs the
    layers for all.
    """
    model = adapted(name)
    _no_dropout(model)
    batch = batch_of(name)
    frozen = FrozenLayers(model.get_base_model(), ActivationCache())
    counted = _count(frozen.layers[0])
    mixed = {key: value.flip(0) for key, value in batch.items()}
    longer = {
        key: torch.cat([value, torch.zeros_like(value[:, :3])], 1)
        if key in ("input_ids", "attention_mask")
        else value
        for key, value in mixed.items()
    }
    plain = passed(model, longer)
    counted.clear()
    with frozen:
        passed(model, batch)
        assert len(counted) == 1
        assert_same(passed(model, longer), plain, rtol=1e-4, atol=1e-5)
        assert len(counted) == 1
        longer["input_ids"][0, 0] += 1
        passed(model, longer)
        assert len(counted) == 2


def test_left_padding_is_another_text_where_positions_count():
    model = adapted("gpt2")
    _no_dropout(model)
    right, left = (
        {"input_ids": torch.tensor([row]), "attention_mask": torch.tensor([mask])}
        for row, mask in (([5, 6, 7, 0], [1, 1, 1, 0]), ([0, 5, 6, 7], [0, 1, 1, 1]))
    )
    plain = [passed(model, batch)[0] for batch in (right, left)]
    with FrozenLayers(model.get_base_model(), ActivationCache()):
        for batch, want in zip((right, left, right, left), plain * 2, strict=True):
            torch.testing.assert_close(passed(model, batch)[0], want, rtol=1e-4, atol=1e-5)


def test_what_is_not_a_plain_text_runs_the_layers():
    model = adapted("bert")
    _no_dropout(model)
    cache, batch = ActivationCache(), batch_of("bert")
    states = model.get_base_model().get_input_embeddings()(batch["input_ids"])
    with FrozenLayers(model.get_base_model(), cache):
        model(inputs_embeds=states, attention_mask=batch["attention_mask"])
        hidden = model(**batch, output_hidden_states=True).hidden_states
        assert len(hidden) == 3
        assert len(cache) == 0


def test_gradient_checkpointing_does_not_go_below():
    model = adapted("bert")
    _no_dropout(model)
    batch = batch_of("bert")
    plain = passed(model, batch)
    model.get_base_model().gradient_checkpointing_enable({"use_reentrant": False})
    model.get_base_model().enable_input_require_grads()
    frozen = FrozenLayers(model.get_base_model(), ActivationCache())
    counted = _count(frozen.layers[0])
    with frozen:
        for _ in range(2):
            assert_same(passed(model, batch), plain, rtol=1e-4, atol=1e-5)
    assert len(counted) == 1


def test_frozen_layers_of_half_precision_are_exact():
    model = adapted("bert").to(torch.bfloat16)
    _no_dropout(model)
    batch = batch_of("bert")
    plain = passed(model, batch)
    cache = ActivationCache()
    with FrozenLayers(model.get_base_model(), cache):
        for _ in range(2):
            assert_same(passed(model, batch), plain, rtol=0, atol=0)
    assert cache._blocks[0].dtype == torch.bfloat16


@pytest.mark.parametrize(("name", "why"), [("t5", "hands on more"), ("albert", "is frozen below")])
def test_models_without_frozen_layers_say_so(name, why):
    with pytest.raises(AdaptkitError, match=why):
        FrozenLayers(
            adapted(name, "lora[layers=last[1]]").get_base_model(), ActivationCache()
        ).check()


def test_where_the_frozen_layers_end():
    def depth(method, auto=AutoModelForSequenceClassification, name="bert", **options):
        return len(
            frozen_layers(
                adapt(tiny(name, auto, num_hidden_layers=6), method, **options).get_base_model()
            )
        )

    assert depth("lora[layers=4-]", head=["classifier"]) == 4
    assert depth("lora[layers=last[1]]", head=["classifier"]) == 5
    assert depth("lora", head=[]) == 0
    assert depth("lora[layers=0|5]", head=[]) == 0
    assert depth("lora[layers=last[2]]", AutoModelForCausalLM, "llama", head=[]) == 4
    model = adapt(tiny("bert", num_hidden_layers=6), "lora[layers=5]", head=[]).get_base_model()
    model.embeddings.LayerNorm.weight.requires_grad_(True)
    assert frozen_layers(model) == []


def test_a_decoder_that_trains_leaves_the_whole_encoder_to_the_frozen_layers():
    model = adapt(tiny("bart"), "lora[sites=cross.*]", head=[])
    randomize(model)
    _no_dropout(model)
    batch = batch_of("bart")
    plain = passed(model, batch)
    frozen = FrozenLayers(model.get_base_model(), ActivationCache())
    assert len(frozen.layers) == 2
    with frozen:
        for _ in range(2):
            assert_same(passed(model, batch), plain, rtol=1e-4, atol=1e-5)


def test_other_frozen_layers_forget_what_was_cached():
    cache, batch = ActivationCache(), batch_of("bert")
    for seed in (0, 1):
        model = adapted("bert", seed=seed)
        _no_dropout(model)
        plain = passed(model, batch)
        with FrozenLayers(model.get_base_model(), cache):
            assert_same(passed(model, batch), plain, rtol=1e-5, atol=1e-6)
        assert len(cache) == 4


def _count(layer):
    seen = []
    inner = next(
        module
        for module in layer.modules()
        if isinstance(module, torch.nn.LayerNorm) or "Norm" in type(module).__name__
    )
    inner.register_forward_hook(lambda *_: seen.append(1))
    return seen


def _no_dropout(model):
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        for attribute in (
            "dropout",
            "attention_dropout",
            "activation_dropout",
            "dropout_prob",
            "layerdrop",
        ):
            if isinstance(getattr(module, attribute, None), float):
                setattr(module, attribute, 0.0)
