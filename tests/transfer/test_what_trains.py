"""Which weights train with --train, and the ways to train them with care: each does what it says,
by name and by number.
"""

import json

import pytest
import torch
from adaptkit.recipes import classify
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification

from adaptkit import AdaptkitError, load_base
from adaptkit.adapters.full import trained, unfreeze
from adaptkit.inference.predictor import Predictor
from adaptkit.training.regularization import GradualUnfreezing, L2SPPenalty, depths, set_rates
from tests.tiny import tiny

BASE = "all-MiniLM-L6-v2"
HEAD = {"classifier.weight", "classifier.bias"}


@pytest.fixture(scope="module")
def base():
    return load_base(BASE, task="classify", labels=2)


def test_parts_by_name(base):
    names = {name for name, _ in base.named_parameters()}
    assert trained(base, "full") == names
    assert trained(base, "head") == HEAD
    norms = trained(base, "norms")
    assert norms == HEAD | {name for name in names if "LayerNorm" in name}
    assert trained(base, "biases") == HEAD | {name for name in names if name.endswith("bias")}
    upper = trained(base, "last[2]")
    assert {name.split(".")[3] for name in upper if "layer." in name} == {"4", "5"}
    assert HEAD | {"bert.pooler.dense.weight"} <= upper
    assert not any("embeddings" in name for name in upper)


def test_unfreeze_trains_these_alone(base):
    unfreeze(base, "last[1]")
    assert {name for name, p in base.named_parameters() if p.requires_grad} == trained(
        base, "last[1]"
    )
    assert all(p.dtype == torch.float32 for p in base.parameters())


@pytest.mark.parametrize(
    ("what", "problem"), [("nroms", "norms"), ("last[9]", "6 layers"), ("last[0]", "6 layers")]
)
def test_what_makes_no_sense_is_refused(base, what, problem):
    with pytest.raises(AdaptkitError, match=problem):
        trained(base, what)
    with pytest.raises(AdaptkitError, match="no new head"):
        trained(tiny("bert"), "head")


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
    set_rates(optimizer, model, 0.5)
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


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    folder = tmp_path_factory.mktemp("what")
    rows = [
        {"text": f"{word} {i}", "label": label}
        for i in range(16)
        for word, label in (("warm", "good"), ("cold", "bad"))
    ]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder, [
        "--train_file",
        str(folder / "rows.jsonl"),
        "--num_train_epochs",
        "2",
        "--disable_tqdm",
        "true",
        "--bf16",
        "false",
    ]


@pytest.mark.parametrize("what", ["head", "norms", "biases", "last[2]", "full"])
def test_a_recipe_changes_what_it_trains_and_nothing_else(rows, what):
    folder, flags = rows
    out = folder / what
    classify.main([*flags, "--train", what, "--output_dir", str(out)])
    before = dict(load_base(BASE, task="classify", labels=2).named_parameters())
    model = load_base(BASE, task="classify", labels=2)
    names = trained(model, what)
    after = load_file(out / "model.safetensors")
    changed = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert changed - names == set()
    assert len(changed - HEAD) >= (
        0 if what == "head" else len(names - HEAD) - 8
    )  # key biases have no gradient
    results = json.loads((out / "all_results.json").read_text())
    assert results["trainable_parameters"] == sum(before[name].numel() for name in names)
    assert Predictor(out)("warm 3")[0]["label"] in ("good", "bad")


def test_the_pull_keeps_weights_near(rows):
    folder, flags = rows
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


def test_thawing_and_rates_run_in_a_recipe(rows):
    folder, flags = rows
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


def test_care_is_for_own_weights(rows):
    folder, flags = rows
    with pytest.raises(AdaptkitError, match="--train full or last"):
        classify.main([*flags, "--l2_sp", "0.1", "--output_dir", str(folder / "refused")])
    with pytest.raises(AdaptkitError, match="norms"):
        classify.main([*flags, "--train", "nroms", "--output_dir", str(folder / "refused")])
