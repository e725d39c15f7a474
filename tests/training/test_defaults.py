"""Defaults follow the number of rows and the machine."""

import pytest
import torch
from transformers import TrainingArguments

from adaptkit.training.defaults import (
    data_defaults,
    machine_defaults,
    machine_notes,
    training_arguments,
)


@pytest.mark.parametrize("rows, validation, choose, expected", [
    (5000, 500, False, {}),
    (5000, 100, False, {}),
    (5000, 99, False, {"load_best_model_at_end": False}),
    (5000, 99, True, {}),
    (5000, 0, False, {"eval_strategy": "no", "load_best_model_at_end": False}),
    (180, 20, True, {"per_device_train_batch_size": 8, "num_train_epochs": 13}),
])  # fmt: skip
def test_few_rows_change_the_defaults(rows, validation, choose, expected):
    found, notes = data_defaults(rows, validation, choose)
    assert found == expected
    assert bool(notes) == bool(found)


@pytest.mark.parametrize(
    "rows, epochs", [(8, 40), (16, 40), (32, 20), (80, 10), (640, 10), (1200, 8), (3000, 4)]
)
def test_epochs_of_few_rows_beside_a_probe(rows, epochs):
    found, _ = data_defaults(rows, 0, probed=True)
    assert (found["per_device_train_batch_size"], found["num_train_epochs"]) == (16, epochs)
    assert found["logging_steps"] == min(10, -(-rows // 16))  # a loss for each epoch
    assert "num_train_epochs" not in data_defaults(3200, 0, probed=True)[0]


@pytest.mark.parametrize(
    "cpu", [{"avx512_bf16": True}, {"amx_bf16": True}, {}, {"architecture": "aarch64"}]
)
def test_bf16_is_chosen_where_the_cpu_has_it_and_elsewhere_said_to_be_slow(
    monkeypatch, tmp_path, cpu
):
    if torch.cuda.is_available() or torch.backends.mps.is_available():
        pytest.skip("this machine has a GPU, which decides")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"architecture": "x86_64"} | cpu)
    able = cpu.get("avx512_bf16", False) or cpu.get("amx_bf16", False)
    assert machine_defaults() == {"use_cpu": True, "bf16": able}
    asked = TrainingArguments(str(tmp_path), use_cpu=True, bf16=True)
    assert bool(machine_notes(asked)) == (cpu == {})
    assert not machine_notes(TrainingArguments(str(tmp_path), use_cpu=True))


def test_training_arguments_are_what_a_recipe_chooses(tmp_path):
    few = training_arguments(tmp_path, train=40)
    assert (few.per_device_train_batch_size, few.num_train_epochs) == (8, 15)
    assert (few.eval_strategy.value, few.load_best_model_at_end) == ("no", False)
    assert few.learning_rate == 1e-3
    many = training_arguments(tmp_path, train=9000, validation=1000, method="prefix")
    assert (many.per_device_train_batch_size, many.num_train_epochs) == (32, 3)
    assert (many.eval_strategy.value, many.load_best_model_at_end) == ("epoch", True)
    assert many.learning_rate == 1e-2
    own = training_arguments(tmp_path, train=40, num_train_epochs=2, learning_rate=0.5)
    assert (own.num_train_epochs, own.learning_rate, own.output_dir) == (2, 0.5, str(tmp_path))
