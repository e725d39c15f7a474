"""Batch norms of a frozen base compute in training as they do afterwards."""

import torch
from torch import nn

from adaptkit import adapt, load_adapter, save_adapter
from adaptkit.models.frozen_statistics import freeze_statistics
from tests.helpers.architectures import small_batch, small_model, tensors_of


def test_an_adapter_of_a_conformer_answers_as_it_was_trained(tmp_path):
    model = small_model("parakeet_encoder")
    norms = [one for one in model.modules() if isinstance(one, nn.BatchNorm1d)]
    before = [one.running_mean.clone() for one in norms]
    batch = small_batch(model)
    adapted = adapt(model, "lora[r=2]").train()
    for name, weight in adapted.named_parameters():
        if weight.requires_grad and name.endswith("B"):
            nn.init.normal_(weight)
    training = tensors_of(adapted(**batch))[0]
    assert norms
    assert all(map(torch.equal, before, (one.running_mean for one in norms)))
    torch.testing.assert_close(tensors_of(adapted.eval()(**batch))[0], training)
    save_adapter(adapted, tmp_path / "a")
    loaded = load_adapter(tmp_path / "a", small_model("parakeet_encoder"))
    torch.testing.assert_close(tensors_of(loaded(**batch))[0], training)


def test_a_batch_norm_that_trains_moves():
    model = nn.Sequential(nn.BatchNorm1d(2), nn.BatchNorm1d(2)).requires_grad_(False)
    model[1].requires_grad_(True)
    for _ in range(2):
        freeze_statistics(model)
    model.train()(torch.randn(8, 2) + 3)
    assert not model[0].running_mean.any()
    assert model[1].running_mean.any()
    assert len(model[0]._forward_pre_hooks) == 1
