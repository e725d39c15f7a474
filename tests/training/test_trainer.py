"""Steps of the trainer: accumulation, clipping, decay, and that every flag trains."""

import json

import pytest
import torch
from adaptkit.recipes import classify, score
from transformers import TrainingArguments

from adaptkit import adapt, load_base
from adaptkit.data.tables import Table
from adaptkit.tasks.classify import Classify
from adaptkit.training.fit import make_trainer
from adaptkit.training.options import EncodedSplit
from tests.helpers.small import CLASSIFY, flags, weights
from tests.training.three_layers import run


def test_gradients_are_clipped_by_the_norm_of_what_trains(good_and_bad, tmp_path):
    tokenizer, encoded = good_and_bad
    model = adapt(load_base("all-MiniLM-L6-v2", task="classify", labels=2), "lora")
    args = TrainingArguments(
        output_dir=str(tmp_path), use_cpu=True, max_steps=1, max_grad_norm=0.5, report_to="none"
    )
    part = EncodedSplit(Table([{"text": "x", "label": "a"}] * 24, "x"), encoded)
    trainer = make_trainer(model, Classify(labels=["a", "b"]), part, part, tokenizer, args)
    trainer.create_optimizer()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in trained:
        parameter.grad = torch.full_like(parameter, 2.0)
    norm = trainer._clip_grad_norm(model)
    assert float(norm) == pytest.approx(
        2 * sum(parameter.numel() for parameter in trained) ** 0.5, rel=1e-4
    )
    assert sum(
        float(parameter.grad.square().sum()) for parameter in trained
    ) ** 0.5 == pytest.approx(0.5, rel=1e-4)


@pytest.mark.parametrize(
    "method", ["lora", "bottleneck[placement=pfeiffer]", "ia3", "bottleneck[scale=learned]"]
)
def test_matrices_decay_and_factors_and_biases_do_not(good_and_bad, tmp_path, method):
    tokenizer, encoded = good_and_bad
    model = adapt(load_base("all-MiniLM-L6-v2", task="classify", labels=2), method)
    args = TrainingArguments(
        output_dir=str(tmp_path), use_cpu=True, weight_decay=0.1, report_to="none"
    )
    part = EncodedSplit(Table([{"text": "x", "label": "a"}] * 24, "x"), encoded)
    groups = (
        make_trainer(model, Classify(labels=["a", "b"]), part, part, tokenizer, args)
        .create_optimizer()
        .param_groups
    )
    decay = {
        id(parameter): group["weight_decay"] for group in groups for parameter in group["params"]
    }
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    assert {decay[id(parameter)] for parameter in trained if parameter.ndim > 1} == {0.1}
    assert {decay[id(parameter)] for parameter in trained if parameter.ndim < 2} == {0.0}


@pytest.mark.slow
@pytest.mark.parametrize("label", ["classify", "score", "weighted"])
def test_four_times_eight_is_thirty_two(small, tmp_path, label):
    """Accumulated batches of any size, the last one short: the same weights."""
    own = [*CLASSIFY, "--class_weights"] if label == "weighted" else CLASSIFY
    recipe = score if label == "score" else classify
    own = ["--score_column", "urgency", "--learning_rate", "3e-3"] if label == "score" else own
    same = [
        *own,
        "--max_steps",
        "5",
        "--bf16",
        "false",
        "--eval_strategy",
        "no",
        "--adversarial_epsilon",
        "0.5",
        "--attn_implementation",
        "eager",
    ]
    for batch, steps in ((32, 1), (8, 4), (4, 8)):
        parts = [
            "--per_device_train_batch_size",
            str(batch),
            "--gradient_accumulation_steps",
            str(steps),
        ]
        recipe.main(flags(small, tmp_path / str(batch), *same, *parts))
    whole, *others = (weights(tmp_path / str(batch)) for batch in (32, 8, 4))
    for other in others:
        for key, tensor in whole.items():
            torch.testing.assert_close(
                other[key], tensor, atol=2e-5, rtol=0, msg=lambda m, key=key: f"{key}: {m}"
            )


@pytest.mark.slow
def test_what_is_asked_of_training_is_done(small, tmp_path):
    """Each flag trains, and to other weights than without it; checkpointing changes nothing but
    memory.
    """
    same = [
        *CLASSIFY,
        "--max_steps",
        "4",
        "--bf16",
        "false",
        "--eval_strategy",
        "no",
        "--per_device_train_batch_size",
        "8",
    ]
    same += [
        "--attn_implementation",
        "eager",
    ]  # measured at start-up, each run could choose another one
    (tmp_path / "synonyms.txt").write_text("kettle, pot\nplease, kindly\n")
    cases = {
        "plain": [],
        "checkpointing": ["--gradient_checkpointing", "true"],
        "smoothing": ["--label_smoothing_factor", "0.2"],
        "weights": ["--class_weights"],
        "fgm": ["--adversarial_epsilon", "1.0"],
        "augment": [
            "--augment_copies",
            "2",
            "--synonym_file",
            str(tmp_path / "synonyms.txt"),
            "--word_dropout",
            "0.3",
        ],
        "tensorboard": ["--report_to", "tensorboard", "--logging_steps", "1"],
    }
    for name, more in cases.items():
        classify.main(flags(small, tmp_path / name, *same, *more))
    plain = weights(tmp_path / "plain")
    for name in cases:
        far = max(
            (weights(tmp_path / name)[key] - tensor).abs().max().item()
            for key, tensor in plain.items()
        )
        assert far < 1e-6 if name in ("plain", "checkpointing", "tensorboard") else far > 1e-5, (
            name,
            far,
        )
    assert (
        json.loads((tmp_path / "augment/all_results.json").read_text())["train_samples"] == 3 * 48
    )
    assert list((tmp_path / "tensorboard").glob("**/events.out.tfevents.*"))


def test_adam_in_8_bits_trains(three_layers, tmp_path):
    found = run(
        three_layers,
        tmp_path / "out",
        "--method",
        "full",
        "--optim",
        "adamw_bnb_8bit",
        "--head_start",
        "random",
        "--bf16",
        "false",
        "--num_train_epochs",
        "4",
    )
    assert found["train_loss"] < 1.2
    state = torch.load(
        next((tmp_path / "out").glob("checkpoint-*/optimizer.pt")), weights_only=False
    )["state"]
    dtypes = {
        tensor.dtype
        for entry in state.values()
        for tensor in entry["__bnb_optimizer_quant_state__"].values()
    }
    assert torch.uint8 in dtypes
