"""Shrunk adapters: exact where the rank suffices, the best of their rank where it does not, LoRA
for PEFT, and everything else as it was.
"""

import dataclasses
import json
import shutil
from dataclasses import dataclass

import peft
import pytest
import torch
from safetensors.torch import load_file

from adaptkit import (
    AdaptkitError,
    Method,
    Param,
    TaskCard,
    adapt,
    load_adapter,
    load_base,
    register,
    save_adapter,
    shrink,
)
from adaptkit.adapters.card import read_card
from adaptkit.methods import registry
from tests.host.store import edit
from tests.tiny import first, inputs, randomize, tiny

EXACT = {
    "lora[r=6,alpha=3,dropout=0.1]": 6,
    "lora[r=3,rslora=true,layers=1]": 3,
    "miss[r=5]": 5,
    "vera[r=7,sites=attn.q|ffn.in]": 7,
    "lora[r=2,sites=attn.q,layers=0]+miss[r=4]+vera[r=3,sites=ffn.out]": 7,
}


def stored(folder, method, name="bert", spread=True):
    """A random adapter over a tiny base in `folder`; with `spread`, its ranks differ in size."""
    if not (folder / name).exists():
        tiny(name).save_pretrained(folder / name)
    model = adapt(load_base(str(folder / name)), method)
    randomize(model)
    if spread:
        with torch.no_grad():
            for key, weight in model.named_parameters():
                if key.endswith("_B"):
                    weight *= torch.logspace(0, -2, weight.shape[1])
    save_adapter(model, folder / "adapter")
    return folder / "adapter"


def said(folder, name="bert"):
    with torch.no_grad():
        return first(load_adapter(folder)(**inputs(name)))


@pytest.mark.parametrize("method", EXACT)
def test_with_all_of_its_rank_it_says_the_same(method, tmp_path):
    folder = stored(tmp_path, method)
    found = shrink(folder, tmp_path / "out", variance=1)
    assert found.after == EXACT[method]
    assert found.kept == dict.fromkeys(found.kept, 1.0)
    torch.testing.assert_close(said(tmp_path / "out"), said(folder), atol=1e-5, rtol=1e-4)
    assert read_card(tmp_path / "out").method.startswith(f"lora[alpha={EXACT[method]}.0,")
    base = load_base(str(tmp_path / "bert"))
    theirs = peft.PeftModel.from_pretrained(base, str(tmp_path / "out")).eval()
    with torch.no_grad():
        torch.testing.assert_close(
            first(theirs(**inputs("bert"))), said(folder), atol=1e-5, rtol=1e-4
        )


@pytest.mark.parametrize("name", ["gpt2", "t5"])
def test_packed_maps_and_two_stacks(name, tmp_path):
    folder = stored(tmp_path, "miss[r=3,layers=1]+lora[r=2]", name)
    shrink(folder, tmp_path / "out", variance=1)
    torch.testing.assert_close(
        said(tmp_path / "out", name), said(folder, name), atol=1e-5, rtol=1e-4
    )


def test_each_map_is_the_best_of_its_rank(tmp_path):
    folder = stored(tmp_path, "lora[r=8,alpha=16,sites=attn.q]")
    found = shrink(folder, tmp_path / "out", rank=3)
    assert (found.before, found.after, set(found.wanted.values())) == (8, 3, {8})
    before, after = (
        load_file(one / "adapter_model.safetensors") for one in (folder, tmp_path / "out")
    )
    for layer in range(2):
        start = f"base_model.model.encoder.layer.{layer}.attention.self.query.lora_"
        big, small = (
            scale * tensors[f"{start}B.weight"] @ tensors[f"{start}A.weight"]
            for scale, tensors in ((2, before), (1, after))
        )
        left, values, right = torch.linalg.svd(big)
        torch.testing.assert_close(small, left[:, :3] * values[:3] @ right[:3])
        share = values[:3].square().sum() / values.square().sum()
        name = f"encoder.layer.{layer}.attention.self.query attn.q"
        assert found.kept[name] == pytest.approx(float(share), abs=1e-6)
    sizes = [
        (one / "adapter_model.safetensors").stat().st_size for one in (folder, tmp_path / "out")
    ]
    assert list(found.bytes) == sizes
    assert sizes[1] < 0.5 * sizes[0]


def test_the_rank_is_the_smallest_with_which_every_map_keeps_its_share(tmp_path):
    folder = stored(tmp_path, "lora[r=8]")
    shares = {}
    for number, settings in enumerate(({"variance": 0.9}, {}, {"variance": 0.99})):
        found = shrink(folder, tmp_path / str(number), **settings)
        share = settings.get("variance", 0.95)
        assert found.share == share
        assert found.after == max(found.wanted.values())
        assert min(found.kept.values()) >= share
        less = shrink(folder, tmp_path / f"less-{number}", found.after - 1, share)
        assert less.after == found.after - 1
        assert min(less.kept.values()) < share
        shares[share] = found.after
    assert 1 < shares[0.9] < shares[0.95] < shares[0.99] < 8


def test_what_changes_nothing_has_rank_one(tmp_path):
    tiny("bert").save_pretrained(tmp_path / "bert")
    save_adapter(adapt(load_base(str(tmp_path / "bert")), "lora[r=4]"), tmp_path / "adapter")
    found = shrink(tmp_path / "adapter", tmp_path / "out")
    assert (found.after, set(found.kept.values())) == (1, {1.0})
    torch.testing.assert_close(said(tmp_path / "out"), first(tiny("bert")(**inputs("bert"))))


def classifier(folder, method):
    tiny("bert").save_pretrained(folder / "bert")
    model = adapt(load_base(str(folder / "bert"), task="classify", labels=["no", "yes"]), method)
    randomize(model)
    card = TaskCard(
        task="classify",
        labels=["no", "yes"],
        columns={"text": "review"},
        settings={"multi_label": True},
        max_length=32,
        metrics={"test_f1": 0.5},
    )
    save_adapter(model, folder / "adapter", card=card)
    return folder / "adapter"


def test_head_and_card_stay_as_they_are(tmp_path):
    folder = classifier(tmp_path, "vera[r=8]")
    shrink(folder, tmp_path / "out", variance=1)
    before, after = read_card(folder), read_card(tmp_path / "out")
    changed = {
        name for name, value in dataclasses.asdict(before).items() if value != getattr(after, name)
    }
    assert changed == {"method", "metrics", "weights_sha256"}
    assert after.metrics == {}
    held, now = (load_file(one / "adapter_model.safetensors") for one in (folder, tmp_path / "out"))
    head = [name for name in held if "classifier" in name]
    assert len(head) == 2
    assert all(torch.equal(held[name], now[name]) for name in head)
    torch.testing.assert_close(said(tmp_path / "out"), said(folder), atol=1e-5, rtol=1e-4)


def test_a_lora_of_peft_with_ranks_and_scales_of_its_own(tmp_path):
    tiny("bert").save_pretrained(tmp_path / "bert")
    config = peft.LoraConfig(
        r=4,
        lora_alpha=6,
        target_modules=["query", "value"],
        rank_pattern={"layer.0.attention.self.value": 2},
        alpha_pattern={"layer.1.attention.self.query": 9},
        modules_to_save=["classifier"],
    )
    base = load_base(str(tmp_path / "bert"), task="classify", labels=["no", "yes"])
    model = adapt(base, config)
    randomize(model)
    card = TaskCard(task="classify", labels=["no", "yes"])
    save_adapter(model, tmp_path / "adapter", card=card)
    found = shrink(tmp_path / "adapter", tmp_path / "out", variance=1)
    assert sorted(found.wanted.values()) == [2, 4, 4, 4]
    torch.testing.assert_close(said(tmp_path / "out"), said(tmp_path / "adapter"))
    assert read_card(tmp_path / "out").method == (
        "lora[alpha=4.0,dropout=0.0,gate=false,r=4,rslora=false,sites=attn.q|attn.v]"
    )


def test_a_method_from_outside_is_evaluated(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "METHODS", dict(registry.METHODS))

    @register
    @dataclass(frozen=True)
    class Full(Method):
        name = "full_update"
        default_sites = ("attn.q",)
        affine = True

        def spec(self, site):
            return {"by": Param((site.width_out, site.width_in))}

        def apply(self, p, x, y, *, training=False):
            return y + x @ p["by"].mT

    folder = stored(tmp_path, "full_update")
    assert shrink(folder, tmp_path / "out", variance=1).after == 32
    torch.testing.assert_close(said(tmp_path / "out"), said(folder), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("bottleneck", "bottleneck is no linear change .* Serve it as it is, or train a LoRA"),
        ("lora[r=2]+prefix[length=2]", r"prefix\[length=2\] is no linear change"),
        ("lora[gate=true]", "is no linear change"),
        ("reft", "is no linear change"),
        ("bias", "bias does more than add a linear map of the input. adaptkit export merges"),
        ("lora[r=2]+ia3", "ia3 does more than add"),
        ("peft:LOHA[r=2,target_modules=query]", "of PEFT's own methods, shrink takes LoRA"),
        ("peft:LORA[use_dora=true,target_modules=query]", "LoRA with use_dora, which is more"),
        ("peft:LORA[r=2,target_modules=query|pooler.dense]", "changes pooler.dense, which is no"),
    ],
)
def test_what_is_no_lora_is_refused_with_what_to_do(method, message, tmp_path):
    folder = stored(tmp_path, method, spread=False)
    with pytest.raises(AdaptkitError, match=message):
        shrink(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_numbers_out_of_bounds_and_folders_that_are_none(tmp_path):
    folder = stored(tmp_path, "lora[r=2]")
    bare = tmp_path / "bare"
    shutil.copytree(folder, bare)
    (bare / "task.json").unlink()
    for given, settings, message in (
        (folder, {"rank": 0}, "rank is 1 or more and up to 65,536; it got 0"),
        (folder, {"variance": 0.0}, "variance is a share above 0 and up to 1; it got 0.0"),
        (folder, {"variance": 1.5}, "it got 1.5"),
        (bare, {}, "bare has no task card"),
        (tmp_path / "gone", {}, "there is no adapter folder"),
        (tmp_path / "bert", {}, "is not an adapter"),
    ):
        with pytest.raises(AdaptkitError, match=message):
            shrink(given, tmp_path / "out", **settings)
        assert not (tmp_path / "out").exists()
    with pytest.raises(AdaptkitError, match="is not empty"):
        shrink(folder, bare)
    assert json.loads((bare / "adapter_config.json").read_text())["r"] == 2


def test_another_base_than_the_adapter_was_trained_on_is_refused(tmp_path):
    folder = stored(tmp_path, "lora[r=2]")
    tiny("bert", seed=1).save_pretrained(tmp_path / "other")
    edit(folder, "task.json", base=str(tmp_path / "other"))
    with pytest.raises(AdaptkitError, match="trained on another base"):
        shrink(folder, tmp_path / "out")
