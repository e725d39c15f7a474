"""Training stops where it should."""

import json

import numpy as np
import pytest
import torch
from adaptkit.recipes import classify
from datasets import Dataset
from transformers import EvalPrediction, TrainerControl, TrainerState, TrainingArguments

from adaptkit import AdaptkitError, adapt, fit, load_base
from adaptkit.data.tables import Table
from adaptkit.tasks.classify import Classify
from adaptkit.training.callbacks import Judge, StopDeadRun
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


TWO = Table([{"text": "x", "label": "a"}, {"text": "y", "label": "b"}], "x")
DEAD, ALIVE = np.array([[1.0, 0.0], [1.0, 0.0]]), np.array([[1.0, 0.0], [0.0, 1.0]])


@pytest.mark.parametrize(
    "evaluations, given_up",
    [
        ([(20, DEAD)], 20),
        ([(5, DEAD), (19, DEAD), (24, DEAD)], 24),
        ([(0, ALIVE), (20, DEAD)], 20),  # before training: what it starts from
        ([(20, ALIVE), (40, DEAD)], None),
        ([(5, ALIVE), (20, DEAD), (100, DEAD)], None),  # its best epoch is worth keeping
        ([(5, DEAD), (19, DEAD)], None),
    ],
)
def test_a_run_is_given_up_at_the_first_evaluation_that_counts(tmp_path, evaluations, given_up):
    rows = Dataset.from_dict({"input_ids": [[1], [1, 2]], "length": [1, 2], "labels": [0, 1]})
    judge = Judge(Classify(labels=["a", "b"]), EncodedSplit(TWO, rows))
    stop, control = StopDeadRun(judge), TrainerControl()
    args = TrainingArguments(str(tmp_path), use_cpu=True, report_to="none")
    stopped = []
    for step, logits in evaluations:
        judge(EvalPrediction(logits, np.array([0, 1])))
        stop.on_evaluate(args, TrainerState(global_step=step, max_steps=100), control)
        stopped += [step] if control.should_training_stop else []
    assert stopped[:1] == ([given_up] if given_up else [])
    assert bool(stop.found) is bool(given_up)
