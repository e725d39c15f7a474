"""Fusion: the mixture alone trains, saves, loads and serves."""

import json

import pytest
import torch
from adaptkit.recipes import classify

from adaptkit import AdaptkitError, Host, load_adapter, load_base, save_adapter
from adaptkit.adapters.card import TaskCard
from adaptkit.adapters.fuse import fuse, fusion_of
from adaptkit.adapters.tensors import adapter_tensors
from tests.helpers.minilm import BASE, PFEIFFER, make


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuse")
    return [
        make(folder, "a", PFEIFFER, 1),
        make(folder, "b", "bottleneck[placement=pfeiffer,scale=0.5]", 2),
    ]


def test_the_mixture_alone_trains(parts):
    model = fuse(load_base(BASE, task="classify", labels=["x", "y"]), parts)
    training = {
        name.rpartition(".")[2]
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }
    assert training == {
        "weight",
        "bias",
        *(f"0_layer_{name}" for name in ("query", "query_bias", "key", "value")),
    }
    model.set_adapter("default")
    assert {
        name.rpartition(".")[2] for name, p in model.named_parameters() if p.requires_grad
    } == training


def test_one_adapter_that_gets_all_attention_is_that_adapter(parts, tmp_path):
    """With queries of zero both count the same; with one adapter twice, that is the adapter."""
    model = fuse(load_base(BASE, task="classify", labels=["no", "yes"]), [parts[1], parts[1]])
    alone = load_adapter(parts[1])
    ids = torch.arange(1000, 1012).view(2, 6)
    with torch.no_grad():
        found, wanted = (
            one.eval()(input_ids=ids, output_hidden_states=True).hidden_states[-1]
            for one in (model, alone)
        )
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_a_fusion_saves_loads_and_serves(parts, tmp_path):
    model = fuse(load_base(BASE, task="classify", labels=["x", "y"]), parts)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    card = TaskCard(task="classify", labels=["x", "y"], columns={"text": "text"}, max_length=64)
    save_adapter(model, tmp_path / "fused", card=card)
    again = load_adapter(tmp_path / "fused")
    for key, tensor in adapter_tensors(model, "default").items():
        assert torch.equal(tensor, adapter_tensors(again, "default")[key])
    trainable = load_adapter(tmp_path / "fused", trainable=True)
    assert not any(
        p.requires_grad
        for name, p in trainable.named_parameters()
        if name.endswith(("_down", "_up"))
    )
    host = Host(BASE, slot_capacity=[str(fusion_of(parts)), "lora[r=16]"])
    host.load("fused", tmp_path / "fused")
    host.load("a", parts[0])
    together = host(["a fine day", "a fine day"], ["fused", "a"])
    for name, answer in zip(("fused", "a"), together, strict=True):
        alone = host(["a fine day"], [name])[0]
        assert (answer.label, answer.score) == (alone.label, pytest.approx(alone.score, abs=1e-5))
    logits = (
        again(**host.backbone.tokenizer(["a fine day"], return_tensors="pt")).logits
        if host.backbone.tokenizer
        else None
    )
    if logits is not None:
        assert together[0].score == pytest.approx(float(logits.softmax(-1).max()), abs=1e-5)


def test_a_recipe_learns_a_fusion(parts, tmp_path):
    rows = [
        {"text": f"{word} {i}", "label": label}
        for i in range(12)
        for word, label in (("warm", "good"), ("cold", "bad"))
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    flags = [
        "--train_file",
        str(tmp_path / "rows.jsonl"),
        "--num_train_epochs",
        "2",
        "--disable_tqdm",
        "true",
    ]
    classify.main([*flags, "--fuse", *map(str, parts), "--output_dir", str(tmp_path / "fused")])
    model = load_adapter(tmp_path / "fused")
    tensors = adapter_tensors(model, "default")
    first = adapter_tensors(load_adapter(parts[0]), "default")
    key = next(
        key
        for key in tensors
        if key.endswith("layer.3.output.LayerNorm.adaptkit_weights.0_layer_down")
    )
    assert torch.equal(tensors[key][0], first[key])
    value = tensors[key.replace("_down", "_value")]
    assert not torch.equal(value, torch.eye(len(value)))


def test_what_cannot_be_fused_is_refused(parts, tmp_path):
    houlsby = make(tmp_path, "houlsby", "bottleneck")
    narrow = make(tmp_path, "narrow", "bottleneck[placement=pfeiffer,reduction=8]")
    for folders, problem in (
        ([parts[0]], "two adapters"),
        ([parts[0], houlsby], "fusion is of adapters of"),
        ([parts[0], narrow], "one shape"),
    ):
        with pytest.raises(AdaptkitError, match=problem):
            fusion_of(folders)
