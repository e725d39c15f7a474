"""Faults that an attacker of the transfer code found, each once."""

import json

import peft
import pytest
import torch
from adaptkit.recipes import classify, distill
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification

from adaptkit import AdaptkitError, adapt, cli, load_adapter, load_base, save_adapter
from adaptkit.adapters.card import TaskCard
from adaptkit.adapters.combine import combine
from adaptkit.adapters.full import trained, unfreeze
from adaptkit.adapters.fuse import fuse
from adaptkit.adapters.warm_start import warm_start
from adaptkit.data.tables import Table
from adaptkit.distillation.distill import UNLABELLED, distilled
from adaptkit.distillation.teacher import Teacher
from adaptkit.inference.explain import explain
from adaptkit.inference.predictor import Predictor
from adaptkit.inference.slices import slices
from adaptkit.models.shallow import fresh
from adaptkit.tasks.classify import Classify
from adaptkit.training.activation_cache import ActivationCache
from adaptkit.training.frozen_layers import FrozenLayers
from adaptkit.training.regularization import depths
from adaptkit.transfer.mix import mix
from tests.tiny import inputs, randomize, tiny
from tests.transfer.test_combine import BASE, make

PFEIFFER = "bottleneck[placement=pfeiffer]"


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    folder = tmp_path_factory.mktemp("attacks")
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
    ]


def test_the_pull_is_towards_the_beginning_after_a_resume_too(rows):
    folder, flags = rows
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


def test_layers_that_read_what_trains_outside_make_no_trunk():
    model = tiny("deberta-v2")
    model.requires_grad_(False)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("layer.1." in name or "rel_embeddings" in name)
    with pytest.raises(AdaptkitError, match="gives something else"):
        FrozenLayers(model, ActivationCache()).check()
    model.encoder.rel_embeddings.requires_grad_(False)
    FrozenLayers(model, ActivationCache()).check()


def test_behind_is_what_is_used_behind():
    deberta = tiny("deberta-v2", AutoModelForSequenceClassification, num_labels=2)
    assert not any(
        "rel_embeddings" in name or "encoder.LayerNorm" in name
        for name in trained(deberta, "last[1]")
    )
    opt = tiny("opt", AutoModelForSequenceClassification, num_labels=2)
    assert "model.decoder.final_layer_norm.weight" in trained(opt, "last[1]")
    assert depths(opt)["model.decoder.final_layer_norm.weight"] == 3
    unfreeze(opt, "last[1]")


@pytest.mark.parametrize("how", ["ties", "magnitude_prune"])
def test_merged_packed_projections_say_the_same_in_peft(tmp_path, how):
    base = tiny("gpt2")
    base.save_pretrained(tmp_path / "base")
    for seed, name in enumerate("ab"):
        torch.manual_seed(seed)
        model = adapt(load_base(str(tmp_path / "base")), "lora[r=4,alpha=32]")
        randomize(model, seed)
        save_adapter(model, tmp_path / name)
    combine([tmp_path / "a", tmp_path / "b"], tmp_path / "out", how, density=1.0)
    ours = load_adapter(tmp_path / "out", load_base(str(tmp_path / "base")))
    theirs = peft.PeftModel.from_pretrained(
        load_base(str(tmp_path / "base")), str(tmp_path / "out")
    ).eval()
    batch = inputs("gpt2")
    with torch.no_grad():
        torch.testing.assert_close(ours(**batch)[0], theirs(**batch)[0], rtol=1e-4, atol=1e-5)


def test_adapters_of_peft_with_other_settings_are_not_averaged(tmp_path):
    for name, alpha, rank in (("a", 4, 4), ("b", 64, 4), ("c", 4, 8)):
        method = f"peft:LORA[r={rank},lora_alpha={alpha},target_modules=query|value]"
        model = adapt(load_base(BASE, task="classify", labels=["no", "yes"]), method)
        save_adapter(model, tmp_path / name, card=TaskCard(task="classify", labels=["no", "yes"]))
    for other in "bc":
        with pytest.raises(AdaptkitError, match="different settings"):
            combine([tmp_path / "a", tmp_path / other], tmp_path / "out")


def test_layers_keep_their_kind_when_they_move():
    source = tiny(
        "gemma3", num_hidden_layers=4, layer_types=["sliding_attention", "full_attention"] * 2
    )
    target = fresh(source, 2)
    assert target.config.layer_types == ["full_attention", "full_attention"]
    modern, other = (tiny("modernbert", seed=seed, num_hidden_layers=3) for seed in (1, 2))
    mix(modern, other, 1.0)
    for layer in range(3):
        assert torch.equal(
            modern.layers[layer].mlp_norm.weight, other.layers[layer].mlp_norm.weight
        )


def test_outputs_are_not_written_over_something(tmp_path):
    parts = [make(tmp_path, "a"), make(tmp_path, "b")]
    for command in (
        ["mix", BASE, "--num_hidden_layers", "3", "--output_dir", str(parts[0])],
        ["combine", *map(str, parts), "--output_dir", str(parts[0])],
        ["combine", *map(str, parts), "--how", "stack", "--output_dir", str(parts[0])],
    ):
        with pytest.raises(AdaptkitError, match="not empty"):
            cli.main(command)
    with pytest.raises(AdaptkitError, match="takes no --weights"):
        cli.main(
            [
                "combine",
                *map(str, parts),
                "--how",
                "stack",
                "--weights",
                "1",
                "2",
                "--output_dir",
                str(tmp_path / "new"),
            ]
        )


def test_weights_of_labels_and_the_baseline_follow_the_teacher():
    task = Classify(labels=["a", "b"], class_weights=True, weights=[2.0, 0.5])
    student = distilled(task, Teacher(["b", "a"], {}))
    assert student.weights == [0.5, 2.0]
    train = Table(
        [
            {"text": "1", "label": "b"},
            *({"text": str(i), "label": "a", UNLABELLED: True} for i in range(9)),
        ],
        "here",
    )
    assert student.baseline(train, Table([{"text": "x", "label": "b"}], "there")) == {
        "majority_baseline": 1.0
    }


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


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        (["--train", "head", "--fuse", "a", "b"], "own weights"),
        (["--train", "full", "--warm_start", "a"], "own weights"),
        (["--method", "ia3", "--fuse", "a", "b"], "leave --method ia3 out"),
    ],
)
def test_flags_that_do_not_go_together(rows, flags, problem):
    folder, files = rows
    with pytest.raises(AdaptkitError, match=problem):
        classify.main([*files, *flags, "--output_dir", str(folder / "refused")])
    assert not (folder / "refused").exists()


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        (["--student", "bilstmm"], "bilstm"),
        (["--student", "cnn", "--folds", "3"], "not support --folds"),
        (["--student", "cnn", "--check"], "adaptkit check classify"),
        (["--student_layers", "9", "--layer_map", "last"], "fewer than the 9"),
    ],
)
def test_a_student_is_checked_before_its_teacher_runs(rows, flags, problem):
    folder, files = rows
    with pytest.raises(AdaptkitError, match=problem):
        distill.main(
            [
                *files,
                *flags,
                "--teacher",
                str(make(folder, "teacher", labels=("bad", "good"))),
                "--output_dir",
                str(folder / "no"),
            ]
        )
    assert not (folder / "no").exists()


def test_small_students_are_explained(rows):
    folder, files = rows
    teacher = make(folder, "teacher2", labels=("bad", "good"))
    for kind in ("bilstm", "cnn"):
        out = folder / kind
        distill.main(
            [*files, "--teacher", str(teacher), "--student", kind, "--output_dir", str(out)]
        )
        for how in ("gradients", "occlusion"):
            found = explain(Predictor(out), "a warm place", how)
            assert found.words == ["a", "warm", "place"]
            assert how == "occlusion" or sum(found.shares) == pytest.approx(
                found.difference, rel=0.01
            )


def test_slices_want_an_answer_for_each_row():
    table = Table([{"text": "1", "label": "a"}], "here")
    with pytest.raises(AdaptkitError, match="101 different values"):
        slices(Classify(labels=["a", "b"]), [{"label": "a"}], table, [str(i) for i in range(101)])
