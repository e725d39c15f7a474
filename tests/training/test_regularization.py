"""Own weights trained with care: rates by depth, a pull to the start, thawing from the top."""

import pytest
import torch
from adaptkit.recipes import classify
from peft.optimizers import create_loraplus_optimizer
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification

from adaptkit import AdaptkitError, adapt, load_base
from adaptkit.adapters.full import unfreeze
from adaptkit.training.regularization import (
    GradualUnfreezing,
    L2SPPenalty,
    check_lora_plus,
    depths,
    head_factors,
    layer_factors,
    lora_plus_factors,
    set_rates,
)
from tests.helpers.minilm import BASE, HEAD
from tests.helpers.small import CLASSIFY, flags
from tests.tiny import tiny


@pytest.mark.parametrize("name", ["bert", "llama", "distilbert"])
def test_depths_go_from_the_embeddings_to_the_head(name):
    found = depths(tiny(name, AutoModelForSequenceClassification, num_labels=2))
    assert set(found.values()) == {0, 1, 2, 3}
    assert [
        depth for key, depth in found.items() if "embed" in key and "norm" not in key.lower()
    ] == [0] * sum("embed" in key and "norm" not in key.lower() for key in found)
    assert all(
        found[key] == 3
        for key in found
        if key.startswith(("classifier", "score", "pre_classifier"))
    )


def test_rates_fall_from_layer_to_layer():
    model = tiny("bert", AutoModelForSequenceClassification, num_labels=2)
    decayed, others = [
        [p for p in model.parameters() if (p.ndim > 1) is wide] for wide in (True, False)
    ]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}], lr=0.8
    )
    set_rates(optimizer, layer_factors(model, 0.5))
    rates = {
        id(p): (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for p in group["params"]
    }
    place = depths(model)
    for name, parameter in model.named_parameters():
        assert rates[id(parameter)] == (
            0.8 * 0.5 ** (3 - place[name]),
            0.1 if parameter.ndim > 1 else 0.0,
        )


def test_the_new_head_has_a_rate_of_its_own(base):
    model = adapt(base, "lora[r=2]")
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    set_rates(optimizer, head_factors(model.get_base_model(), 5.0))
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    names = {name: rates[id(p)] for name, p in model.named_parameters() if p.requires_grad}
    assert {name for name, rate in names.items() if rate == pytest.approx(5e-3)} == {
        name for name in names if ".classifier." in name
    }
    assert {rate for name, rate in names.items() if ".classifier." not in name} == {1e-3}


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("lora[r=2]+bias", None),
        ("peft:LORA[r=2,target_modules=query|value]", "peft:LORA[r=2,target_modules=query|value]"),
        ("lora[r=2,sites=attn.q|attn.v]", "peft:LORA[r=2,target_modules=query|value]"),
    ],
)
def test_b_has_a_rate_of_its_own_as_in_pefts_lora_plus(ours, theirs):
    model = adapt(tiny("bert"), ours)
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    optimizer = torch.optim.AdamW(trained.values(), lr=2e-4)
    set_rates(optimizer, lora_plus_factors(model.get_base_model(), 16.0))
    by_id = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    rates = {name: by_id[id(p)] for name, p in trained.items()}
    for name, rate in rates.items():
        assert rate == pytest.approx(3.2e-3 if "_B" in name else 2e-4)
    if theirs:
        other = adapt(tiny("bert"), theirs)
        known = create_loraplus_optimizer(other, torch.optim.AdamW, lr=2e-4, loraplus_lr_ratio=16)
        wanted = [(group["lr"], p.shape) for group in known.param_groups for p in group["params"]]
        assert sorted(wanted) == sorted((rates[name], p.shape) for name, p in trained.items())
        assert len({rate for rate, _ in wanted}) == 2


def test_a_ratio_without_lora_is_refused():
    with pytest.raises(AdaptkitError, match="no LoRA trains"):
        lora_plus_factors(adapt(tiny("bert"), "miss[r=8]").get_base_model(), 16.0)
    for ratio, method, message in (
        (16.0, "bottleneck", "no LoRA trains. This method is 'bottleneck'"),
        (16.0, "full", "no LoRA trains"),
        (0.0, "lora", "is a factor above 0; it got 0"),
        (float("inf"), "lora", "it got inf"),
    ):
        with pytest.raises(AdaptkitError, match=message):
            check_lora_plus(ratio, method)
    for ratio, method in ((1.0, "bottleneck"), (16.0, "unipelt"), (4.0, "peft:LORA")):
        check_lora_plus(ratio, method)


def test_lora_plus_is_a_flag_of_the_recipe(small, tmp_path):
    """The groups that a checkpoint keeps: matrices B, the head (few rows: twice), all else."""
    same = ["--max_steps", "1", "--lr_scheduler_type", "constant", "--attn_implementation", "eager"]
    same += ["--eval_strategy", "no", "--save_strategy", "steps", "--save_steps", "1"]
    more = ["--method", "lora[r=2,sites=attn.q]", "--lora_plus_ratio", "16"]
    classify.main(flags(small, tmp_path / "out", *CLASSIFY, *same, *more))
    kept = torch.load(tmp_path / "out/checkpoint-1/optimizer.pt", weights_only=True)
    rates = [group["lr"] for group in kept["param_groups"] if group["params"]]
    assert sorted(set(rates)) == pytest.approx([3e-3, 6e-3, 4.8e-2])
    more = ["--method", "ia3", "--lora_plus_ratio", "2"]
    with pytest.raises(AdaptkitError, match="This method is 'ia3'"):
        classify.main(flags(small, tmp_path / "refused", *CLASSIFY, *more))


def test_the_pull_is_half_the_squared_distance(base):
    unfreeze(base, "last[1]")
    pull = L2SPPenalty(base)
    assert pull() == 0
    with torch.no_grad():
        base.bert.encoder.layer[5].output.dense.bias.add_(0.5)
        base.classifier.weight.add_(1)  # new: nothing to go back to
        base.bert.encoder.layer[0].output.dense.bias.add_(1)  # frozen
    assert float(pull()) == pytest.approx(0.5 * 384 * 0.25)
    pull().backward()
    torch.testing.assert_close(
        base.bert.encoder.layer[5].output.dense.bias.grad, torch.full((384,), 0.5)
    )


def test_layers_thaw_from_the_top():
    model = tiny("bert", AutoModelForSequenceClassification, num_labels=2)
    thaw, place = GradualUnfreezing(model), depths(model)
    for epoch in range(5):
        thaw.on_epoch_begin(None, type("State", (), {"epoch": float(epoch)}), None)
        assert {place[name] for name, p in model.named_parameters() if p.requires_grad} == set(
            range(max(0, 3 - epoch), 4)
        )


def test_the_pull_keeps_weights_near(warm_rows_in_fp32):
    folder, flags = warm_rows_in_fp32
    far = {}
    before = dict(load_base(BASE, task="classify", labels=2).named_parameters())
    for strength in ("0", "100"):
        out = folder / f"pull-{strength}"
        classify.main(
            [
                *flags,
                "--train",
                "full",
                "--learning_rate",
                "1e-3",
                "--l2_sp",
                strength,
                "--output_dir",
                str(out),
            ]
        )
        after = load_file(out / "model.safetensors")
        far[strength] = sum(
            float((after[name] - value).square().sum())
            for name, value in before.items()
            if name not in HEAD
        )
    assert 0 < far["100"] < 0.7 * far["0"]


def test_thawing_and_rates_run_in_a_recipe(warm_rows_in_fp32):
    folder, flags = warm_rows_in_fp32
    out = folder / "thaw"
    classify.main(
        [
            *flags,
            "--train",
            "full",
            "--gradual_unfreezing",
            "--layerwise_lr_decay",
            "0.8",
            "--output_dir",
            str(out),
        ]
    )
    before = dict(load_base(BASE, task="classify", labels=2).named_parameters())
    after = load_file(out / "model.safetensors")
    same = [name for name, value in before.items() if torch.equal(value, after[name])]
    assert any("layer.0." in name for name in same)  # two epochs thaw the topmost layer alone
    assert all(f"layer.{layer}.intermediate.dense.weight" in " ".join(same) for layer in range(5))


def test_care_is_for_own_weights(warm_rows_in_fp32):
    folder, flags = warm_rows_in_fp32
    with pytest.raises(AdaptkitError, match="--train full or last"):
        classify.main([*flags, "--l2_sp", "0.1", "--output_dir", str(folder / "refused")])
    with pytest.raises(AdaptkitError, match="norms"):
        classify.main([*flags, "--train", "nroms", "--output_dir", str(folder / "refused")])


def test_the_pull_is_towards_the_beginning_after_a_resume_too(warm_rows):
    folder, flags = warm_rows
    flags = [
        *flags,
        "--train",
        "last[1]",
        "--l2_sp",
        "0.5",
        "--learning_rate",
        "1e-3",
        "--bf16",
        "false",
        "--save_total_limit",
        "2",
        "--attn_implementation",
        "eager",
    ]
    classify.main([*flags, "--output_dir", str(folder / "whole")])
    classify.main([*flags, "--output_dir", str(folder / "halves")])
    checkpoints = sorted(
        (folder / "halves").glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2])
    )
    assert len(checkpoints) == 2
    classify.main(
        [
            *flags,
            "--output_dir",
            str(folder / "halves"),
            "--resume_from_checkpoint",
            str(checkpoints[0]),
        ]
    )
    whole, halves = (load_file(folder / name / "model.safetensors") for name in ("whole", "halves"))
    assert all(torch.equal(value, halves[name]) for name, value in whole.items())
