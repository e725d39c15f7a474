"""The loss of attention maps by hand, and where there are none to compare."""

import pytest
import torch

from adaptkit import AdaptkitError
from adaptkit.distillation.attention_maps import AttentionMapLoss, Watched
from tests.tiny import tiny


@torch.no_grad()
@pytest.mark.parametrize(
    ("name", "width"), [("bert", 32), ("bert", 48), ("distilbert", 32), ("gpt2", 32)]
)
def test_attention_maps_are_those_of_the_models(name, width):
    """The loss from transformers' own attention weights; the teacher's queries and keys are kept in
    bf16.
    """
    torch.manual_seed(0)
    size = {"distilbert": "dim", "gpt2": "n_embd"}.get(name, "hidden_size")
    teacher, learner = (
        tiny(name, seed=seed, attn="eager", **{size: one}).eval()
        for seed, one in ((1, 32), (2, width))
    )
    ids = torch.randint(5, 60, (3, 7))
    mask = torch.ones_like(ids)
    mask[1, 4:] = 0
    batch = {"input_ids": ids, "attention_mask": mask}
    feature_loss = AttentionMapLoss([1, 0], weight=1.0)
    with feature_loss.teaching(teacher):
        wanted = teacher(**batch, output_attentions=True)
        feature_loss.keep(wanted, batch)
    with feature_loss.learning(learner):
        given = learner(**batch, output_attentions=True)
        found = feature_loss.loss(given, batch)
    by_hand = torch.zeros(3)
    for layer, own in zip((1, 0), given.attentions, strict=True):
        for row in range(3):
            n = int(mask[row].sum())
            told, said = wanted.attentions[layer][row, :, :n, :n], own[row, :, :n, :n]
            by_hand[row] += (
                torch.where(told > 0, told * (told / said.clamp(min=1e-30)).log(), 0).sum(-1).mean()
                / 2
            )
    torch.testing.assert_close(found, by_hand, atol=2e-3, rtol=2e-2)
    assert found.min() > 0.01


@torch.no_grad()
@pytest.mark.parametrize("name", ["bert", "llama", "modernbert", "qwen2", "phi3", "deberta-v2"])
def test_a_teacher_looks_where_it_looks_itself(name):
    model, ids = tiny(name), torch.randint(5, 60, (3, 7))
    feature_loss, batch = (
        AttentionMapLoss([0, 1], weight=1.0),
        {"input_ids": ids, "attention_mask": torch.ones_like(ids)},
    )
    with feature_loss.teaching(model):
        feature_loss.keep(model(**batch), batch)
    with feature_loss.learning(model):
        model(**batch)
        assert feature_loss.loss(None, batch).abs().max() < 1e-3
    other = tiny(name, seed=5)
    with feature_loss.learning(other):
        other(**batch)
        assert feature_loss.loss(None, batch).min() > 0.01
    assert not any(module._forward_hooks for one in (model, other) for module in one.modules())


def test_shared_layers_and_other_heads_have_no_maps_to_compare():
    with pytest.raises(AdaptkitError, match="no layers of its own"):
        AttentionMapLoss([0, 1], 1.0).teaching(tiny("albert"))
    feature_loss = AttentionMapLoss([0, 1], 1.0)
    feature_loss.teaching(tiny("bert"))
    with pytest.raises(AdaptkitError, match="heads is 4 in the teacher and 2 in the student"):
        feature_loss.learning(tiny("bert", num_attention_heads=2))
    with pytest.raises(
        AdaptkitError, match="causal is False in the teacher and True in the student"
    ):
        feature_loss.learning(tiny("llama"))
    with pytest.raises(AdaptkitError, match="from 0 on, not -1"):
        AttentionMapLoss([0], -1)


def test_maps_of_another_batch_or_without_gradients_are_refused():
    model, ids = tiny("bert"), torch.randint(5, 60, (3, 7))
    feature_loss, batch = (
        AttentionMapLoss([0, 1], 1.0),
        {"input_ids": ids, "attention_mask": torch.ones_like(ids)},
    )
    with torch.no_grad(), feature_loss.teaching(model):
        feature_loss.keep(model(**batch), batch)
    with feature_loss.learning(model):
        model(**batch)
        assert feature_loss.loss(None, batch).requires_grad
        skipped, model.encoder.layer[0].forward = (
            model.encoder.layer[0].forward,
            lambda states, *_, **__: states,
        )
        model(**batch)
        with pytest.raises(AdaptkitError, match="every layer to run"):
            feature_loss.loss(None, batch)
        model.encoder.layer[0].forward = skipped
        model.requires_grad_(False)
        model(**batch)
        with pytest.raises(AdaptkitError, match="no gradient reaches"):
            feature_loss.loss(None, batch)


def test_shares_are_in_fp32_under_autocast():
    torch.manual_seed(0)
    watched, q, k = Watched(tiny("bert"), [0]), torch.randn(2, 5, 32) * 4, torch.randn(2, 5, 32) * 4
    seen = torch.ones(2, 5, dtype=torch.bool)
    with torch.autocast("cpu", torch.bfloat16):
        found = watched.log_shares(q, k, seen)
    assert torch.equal(found, watched.log_shares(q, k, seen))
