"""Training stops where it should."""

import json

import pytest
import torch
from adaptkit.recipes import classify
from transformers import TrainingArguments

from adaptkit import AdaptkitError, adapt, fit, load_base
from adaptkit.data.tables import Table
from adaptkit.tasks.classify import Classify
from adaptkit.training.checkpoints import last_whole_checkpoint
from adaptkit.training.options import EncodedSplit
from tests.helpers.small import CLASSIFY, flags


def test_a_loss_that_is_no_number_stops_the_run(good_and_bad, tmp_path):
    tokenizer, encoded = good_and_bad
    model = adapt(load_base("all-MiniLM-L6-v2", task="classify", labels=2), "lora")
    with torch.no_grad():
        next(p for p in model.parameters() if p.requires_grad).fill_(float("nan"))
    args = TrainingArguments(
        output_dir=str(tmp_path),
        use_cpu=True,
        max_steps=3,
        logging_steps=1,
        logging_nan_inf_filter=False,
        report_to="none",
        train_sampling_strategy="group_by_length",
        disable_tqdm=True,
    )
    part = EncodedSplit(Table([{"text": "x", "label": "a"}] * 24, "x"), encoded)
    with pytest.raises(
        AdaptkitError, match="the training loss is nan at step 1: lower --learning_rate"
    ):
        fit(model, Classify(labels=["a", "b"]), part, part, tokenizer, args)


def test_early_stopping_stops(small, tmp_path):
    own = [
        *CLASSIFY[:2],
        "--learning_rate",
        "1e-9",
        "--max_seq_length",
        "64",
        "--eval_strategy",
        "steps",
        "--eval_steps",
        "1",
    ]
    more = ["--save_steps", "1", "--max_steps", "40", "--early_stopping_patience", "2"]
    classify.main(flags(small, tmp_path / "out", *own, *more))
    state = json.loads(
        last_whole_checkpoint(tmp_path / "out").joinpath("trainer_state.json").read_text()
    )
    assert state["global_step"] <= 4
