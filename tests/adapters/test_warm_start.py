"""A warm start takes every weight but a head for other labels, and refuses what does not fit."""

import pytest
import torch

from adaptkit import AdaptkitError, adapt, load_base, save_adapter
from adaptkit.adapters.card import TaskCard
from adaptkit.adapters.fuse import fuse
from adaptkit.adapters.tensors import adapter_tensors
from adaptkit.adapters.warm_start import warm_start
from adaptkit.tasks.sequence import sequence_class
from tests.helpers.minilm import BASE, LORA, PFEIFFER, make
from tests.tiny import randomize


def fresh(labels=("no", "yes"), method=LORA):
    return adapt(load_base(BASE, task="classify", labels=list(labels)), method)


@pytest.mark.parametrize("method", [LORA, "bottleneck+prefix[length=3]"])
def test_all_weights_but_another_head_are_taken(tmp_path, method):
    stored = make(tmp_path, "stored", method)
    same = fresh(method=method)
    assert warm_start(same, stored, ["no", "yes"]) == []
    other = fresh(("a", "b", "c"), method)
    before = {key: tensor.clone() for key, tensor in adapter_tensors(other, "default").items()}
    left = warm_start(other, stored, ["a", "b", "c"])
    assert len(left) == 2
    taken = adapter_tensors(same, "default")
    for key, tensor in adapter_tensors(other, "default").items():
        assert torch.equal(tensor, before[key] if key in left else taken[key])
        assert key in left or not torch.equal(tensor, before[key])


def test_the_same_labels_in_another_order_are_another_head(tmp_path):
    assert len(warm_start(fresh(("yes", "no")), make(tmp_path, "stored"), ["yes", "no"])) == 2


def test_what_does_not_fit_is_refused_and_changes_nothing(tmp_path):
    stored = make(tmp_path, "stored")
    model = fresh(method="lora[r=2,sites=attn.q|attn.v]")
    before = {key: tensor.clone() for key, tensor in adapter_tensors(model, "default").items()}
    with pytest.raises(AdaptkitError, match="use the same"):
        warm_start(model, stored)
    with torch.no_grad():
        model.get_base_model().bert.encoder.layer[0].output.dense.weight.mul_(2)
    assert all(
        torch.equal(tensor, before[key])
        for key, tensor in adapter_tensors(model, "default").items()
    )
    (stored / "task.json").unlink()
    with pytest.raises(AdaptkitError, match="made by adaptkit"):
        warm_start(fresh(), stored)


def test_adapters_move_between_heads(tmp_path):
    torch.manual_seed(0)
    model = adapt(load_base(BASE), PFEIFFER)
    randomize(model)
    save_adapter(model, tmp_path / "bare", card=TaskCard(task="embed"))
    wanted = (
        model.get_base_model()
        .encoder.layer[2]
        .output.LayerNorm.adaptkit_weights["default"]["0_layer_down"]
    )
    head = adapt(load_base(BASE, task="classify", labels=["no", "yes"]), PFEIFFER)
    assert len(warm_start(head, tmp_path / "bare", ["no", "yes"])) == 2
    assert torch.equal(
        head.get_base_model()
        .bert.encoder.layer[2]
        .output.LayerNorm.adaptkit_weights["default"]["0_layer_down"],
        wanted,
    )
    back = adapt(load_base(BASE), PFEIFFER)
    assert warm_start(back, make(tmp_path, "head", PFEIFFER), []) == []
    fused = fuse(
        load_base(BASE, task="classify", labels=["no", "yes"]),
        [tmp_path / "bare", tmp_path / "head"],
    )
    slot = (
        fused.get_base_model()
        .bert.encoder.layer[2]
        .output.LayerNorm.adaptkit_weights["default"]["0_layer_down"]
    )
    assert torch.equal(slot[0], wanted)


def pooled(pooling):
    return adapt(load_base(BASE, task=sequence_class(pooling), labels=["no", "yes"]), LORA)


@pytest.mark.parametrize(
    ("before", "after", "new"),
    [
        ("max", "max", 0),
        ("attention", "attention", 0),
        ("max", "mean", 2),
        ("attention", "mean", 2),
        ("mean", "attention", 3),
        ("native", "mean", 2),
        ("mean", "native", 2),
    ],
)
def test_a_head_that_read_something_else_stays_new(before, after, new, tmp_path):
    model, other = pooled(before), pooled(after)
    randomize(model)
    card = TaskCard(task="classify", labels=["no", "yes"], settings={"pooling": before})
    save_adapter(model, tmp_path / "stored", card=card)
    start = {key: tensor.clone() for key, tensor in adapter_tensors(other, "default").items()}
    stored = adapter_tensors(model, "default")
    left = warm_start(other, tmp_path / "stored", ["no", "yes"])
    assert len(left) == new
    for key, tensor in adapter_tensors(other, "default").items():
        assert torch.equal(tensor, start[key] if key in left else stored[key])
