"""Recipes that start from an adapter."""

import json

import pytest
from adaptkit.recipes import classify
from safetensors.torch import load_file

from adaptkit import AdaptkitError
from tests.helpers.minilm import LORA


def test_a_recipe_starts_warm(tmp_path, capsys):
    rows = [
        {"text": f"{word} {i}", "label": label}
        for i in range(12)
        for word, label in (("warm", "good"), ("cold", "bad"))
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    flags = [
        "--train_file",
        str(tmp_path / "rows.jsonl"),
        "--method",
        LORA,
        "--disable_tqdm",
        "true",
    ]
    classify.main(
        [
            *flags,
            "--output_dir",
            str(tmp_path / "first"),
            "--num_train_epochs",
            "6",
            "--learning_rate",
            "1e-3",
        ]
    )
    again = [
        *flags,
        "--warm_start",
        str(tmp_path / "first"),
        "--num_train_epochs",
        "1",
        "--learning_rate",
        "1e-6",
    ]
    classify.main([*again, "--output_dir", str(tmp_path / "second")])
    assert "warm start from" in capsys.readouterr().out
    first, second = (
        load_file(tmp_path / name / "adapter_model.safetensors") for name in ("first", "second")
    )
    assert first.keys() == second.keys()
    for key, value in second.items():
        assert 0 < (value - first[key]).abs().max() < 1e-4
    with pytest.raises(AdaptkitError, match="--warm_start are for adapters"):
        classify.main([*again, "--method", "full", "--output_dir", str(tmp_path / "third")])
