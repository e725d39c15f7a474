"""TRL's trainers train our adapters: SFT, DPO, Reward and GRPO."""

import pytest
from datasets import Dataset
from trl import (
    DPOConfig,
    DPOTrainer,
    GRPOConfig,
    GRPOTrainer,
    RewardConfig,
    RewardTrainer,
    SFTConfig,
    SFTTrainer,
)

from tests.interop.conftest import QUIET

PAIRS = [
    {"prompt": f"Is it {word}? ", "chosen": "yes, it is", "rejected": "no"}
    for word in ("late", "open", "new", "red") * 4
]


def losses(trainer) -> list[float]:
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def test_sft(adapted, trained_and_kept, tmp_path):
    model, tokenizer = adapted()
    rows = Dataset.from_list([{"text": "yes, it is open. " * 3}] * 16)
    args = SFTConfig(str(tmp_path / "out"), max_length=32, **QUIET | {"max_steps": 8})
    trainer = SFTTrainer(model, args, train_dataset=rows, processing_class=tokenizer)
    trained_and_kept(model, trainer.train)
    assert losses(trainer)[-1] < losses(trainer)[0] - 0.1


def test_dpo(adapted, trained_and_kept, tmp_path):
    model, tokenizer = adapted()
    args = DPOConfig(str(tmp_path / "out"), max_length=32, **QUIET)
    rows = Dataset.from_list(PAIRS)
    trainer = DPOTrainer(model, args=args, train_dataset=rows, processing_class=tokenizer)
    trained_and_kept(model, trainer.train)
    # A fresh adapter is its own reference: log 2
    assert losses(trainer)[0] == pytest.approx(0.6931, abs=1e-3)
    assert losses(trainer)[-1] < 0.69


def test_reward(adapted, trained_and_kept, tmp_path):
    head = {"task": "AutoModelForSequenceClassification", "labels": 1}
    model, tokenizer = adapted(**head)
    rows = Dataset.from_list(
        [{key: row["prompt"] + row[key] for key in ("chosen", "rejected")} for row in PAIRS]
    )
    args = RewardConfig(str(tmp_path / "out"), max_length=32, **QUIET)
    trainer = RewardTrainer(model, args=args, train_dataset=rows, processing_class=tokenizer)
    trained_and_kept(model, trainer.train, **head)
    assert losses(trainer)[-1] < losses(trainer)[0]


def test_grpo(adapted, trained_and_kept, tmp_path):
    model, tokenizer = adapted()
    rows = Dataset.from_list([{"prompt": row["prompt"]} for row in PAIRS])
    args = GRPOConfig(str(tmp_path / "out"), num_generations=4, max_completion_length=4, **QUIET)

    def reward(completions, **_):
        return [float(len(text)) for text in completions]

    trainer = GRPOTrainer(model, reward, args=args, train_dataset=rows, processing_class=tokenizer)
    trained_and_kept(model, trainer.train)
