"""Frozen layers in a recipe: the same adapters, one pass a text; what cannot be is refused."""

import json

import pytest

from adaptkit import AdaptkitError
from adaptkit.training.activation_cache import ActivationCache
from adaptkit.training.frozen_layers import FrozenLayers
from tests.tiny import tiny
from tests.training.three_layers import UPPER, run, weights


def test_a_run_that_is_refused_leaves_nothing_behind(three_layers, tmp_path):
    with pytest.raises(AdaptkitError, match="trains the lowest layer too"):
        run(three_layers, tmp_path / "out", "--method", "lora", "--frozen_trunk", "memory")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("precision", ["false", "true"])
def test_a_recipe_trains_the_same_adapter_over_frozen_layers(
    three_layers, tmp_path, capsys, precision
):
    results = {}
    for where in ("off", "memory", "disk"):
        results[where] = run(
            three_layers,
            tmp_path / where,
            "--method",
            UPPER,
            "--frozen_trunk",
            where,
            "--bf16",
            precision,
            "--attn_implementation",
            "eager",
        )
        said = capsys.readouterr().out
        assert ("frozen layers: the lower 2 layers run once a text" in said) == (where != "off")
        assert not (tmp_path / where / "trunk").exists()
    assert results["memory"]["trunk_gb"] == results["disk"]["trunk_gb"] > 0
    assert "trunk_gb" not in results["off"]
    off = weights(tmp_path / "off")
    far = {}
    for where in ("memory", "disk"):
        again = weights(tmp_path / where)
        far[where] = max(
            (again[key] - tensor).norm() / tensor.norm() for key, tensor in off.items()
        )
    # In bf16 a text's states differ in their last bits with its company in the batch, and Adam
    # makes small gradients large.
    assert max(far.values()) < (1e-4 if precision == "false" else 0.1), far
    assert max(tensor.abs().max() for key, tensor in off.items() if "lora_B" in key) > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("more", [["--search", "2"], ["--folds", "2"], ["--seeds", "1", "2"]])
def test_trials_folds_and_seeds_share_the_frozen_layers(
    three_layers, tmp_path, capsys, monkeypatch, more
):
    puts = []
    put = ActivationCache.put
    monkeypatch.setattr(
        ActivationCache,
        "put",
        lambda self, digest, states: (puts.append(digest), put(self, digest, states)),
    )
    run(three_layers, tmp_path / "on", "--method", UPPER, "--bf16", "false", *more)
    assert capsys.readouterr().out.count("frozen layers:") == 1
    texts = {
        json.loads(line)["text"]
        for name in ("train", "dev")
        for line in (three_layers / f"{name}.jsonl").read_text().splitlines()
    }
    check = 2  # texts that `FrozenLayers.check` tries out each time
    assert len(set(puts)) == len(texts) + check
    assert len(puts) <= len(texts) + check * 8
    run(
        three_layers,
        tmp_path / "off",
        "--method",
        UPPER,
        "--bf16",
        "false",
        "--frozen_trunk",
        "off",
        *more,
    )
    if "--search" in more:
        pairs = [
            [line.split("\t") for line in (tmp_path / name / "search.tsv").read_text().splitlines()]
            for name in ("on", "off")
        ]
        assert [line[:1] + line[2:] for line in pairs[0]] == [
            line[:1] + line[2:] for line in pairs[1]
        ]
    one, other = (
        json.loads((tmp_path / name / "all_results.json").read_text()) for name in ("on", "off")
    )
    assert one["train_loss"] == pytest.approx(other["train_loss"], rel=1e-3)


@pytest.mark.parametrize(
    "more, message",
    [
        (["--method", "lora"], "the method lora trains the lowest layer too; choose upper ones"),
        (["--method", UPPER, "--num_train_epochs", "1"], "every text is read once"),
        (
            ["--method", UPPER, "--adversarial_epsilon", "1"],
            "needs gradients down to the embeddings",
        ),
        (["--method", UPPER, "--base_dropout"], "something else each time"),
        (["--method", UPPER, "--neftune_noise_alpha", "5"], "other noise each time"),
        (
            [
                "--method",
                UPPER,
                "--gradient_checkpointing",
                "--gradient_checkpointing_kwargs",
                '{"use_reentrant": true}',
            ],
            "reentrant checkpoints give no gradients",
        ),
        (["--method", UPPER, "--frozen_trunk", "ram"], "unknown --frozen_trunk 'ram'"),
        (["--method", "lora[layers=3-]"], "this model has 3 layers, 0 to 2; '3-' goes beyond them"),
        (
            ["--method", "lora[layers=upper]"],
            "'upper' is no choice of layers; write 6, 6-, 2-5 or last",
        ),
    ],
)
def test_what_cannot_be_is_refused_in_plain_words(three_layers, tmp_path, more, message):
    with pytest.raises(AdaptkitError, match=message):
        run(three_layers, tmp_path / "no", "--frozen_trunk", "memory", *more)


def test_it_is_left_out_silently_where_nobody_asked(three_layers, tmp_path, capsys):
    run(three_layers, tmp_path / "plain", "--method", "lora", "--num_train_epochs", "1")
    assert "frozen layers" not in capsys.readouterr().out


@pytest.mark.parametrize("quantize", ["int8", "nf4"])
def test_a_quantized_base_has_frozen_layers_too(three_layers, tmp_path, quantize):
    found = run(
        three_layers,
        tmp_path / "out",
        "--method",
        UPPER,
        "--frozen_trunk",
        "memory",
        "--bf16",
        "true",
        "--quantize",
        quantize,
        "--max_steps",
        "8",
    )
    assert found["trunk_gb"] > 0


def test_layers_that_read_what_trains_outside_are_no_frozen_layers():
    model = tiny("deberta-v2")
    model.requires_grad_(False)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("layer.1." in name or "rel_embeddings" in name)
    with pytest.raises(AdaptkitError, match="gives something else"):
        FrozenLayers(model, ActivationCache()).check()
    model.encoder.rel_embeddings.requires_grad_(False)
    FrozenLayers(model, ActivationCache()).check()
