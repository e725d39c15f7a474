"""A run with other settings does not go on from a checkpoint without a word."""

import json
import re
import shutil

import pytest
from adaptkit.recipes import classify

from adaptkit import AdaptkitError
from adaptkit.training.checkpoints import last_whole_checkpoint
from adaptkit.training.run_record import FILE
from tests.helpers.small import CLASSIFY, flags, small

__all__ = ["small"]
SHORT = ["--num_train_epochs", "1", "--per_device_train_batch_size", "8"]
SHORT += ["--save_strategy", "epoch"]
RESUME = ["--resume_from_checkpoint", "true"]


@pytest.fixture(scope="module")
def stopped(small, tmp_path_factory):
    """A run of one epoch with its checkpoint."""
    out = tmp_path_factory.mktemp("run") / "out"
    classify.main(flags(small, out, *CLASSIFY, *SHORT))
    assert last_whole_checkpoint(out).name == "checkpoint-6"
    return out


@pytest.mark.parametrize(
    "more, message",
    [
        (["--learning_rate", "1e-3"], "--learning_rate: 0.003 then, 0.001 now"),
        (["--per_device_train_batch_size", "4"], "rows in a step: 8 then, 4 now"),
        (["--method", "bottleneck"], r"--method: lora.* then, bottleneck.* now"),
        (["--method", "lora[r=4]"], r"trained parameters: \d+ then, \d+ now"),
        (["--train", "full"], r"--method: lora.* then, full now"),
        (["--max_train_samples", "40"], r"training rows: 48 \(\w+\) then, 40 \(\w+\) now"),
        (["--max_seq_length", "16"], r"training rows: 48 \(\w+\) then, 48 \(\w+\) now"),
        (["--seed", "4"], "--seed: 3 then, 4 now"),
        (["--weight_decay", "0.5"], "--weight_decay: .* then, 0.5 now"),
        (["--lr_scheduler_type", "cosine"], "--lr_scheduler_type: linear then, cosine now"),
        (["--label_column", "urgency"], "labels: .* now"),
        (["--quantize", "int8"], "--quantize: None then, int8 now"),
        (["--lr_scheduler_kwargs", '{"x": 1}'], "--lr_scheduler_kwargs: .* then, .*x.* now"),
        (["--optim_args", "foreach=true"], "--optim_args: None then, foreach=true now"),
    ],
)
def test_what_a_checkpoint_would_override_is_refused_and_named(small, stopped, more, message):
    before = (stopped / "adapter_model.safetensors").read_bytes()
    with pytest.raises(AdaptkitError, match="that run had other settings") as refused:
        classify.main(flags(small, stopped, *CLASSIFY, *SHORT, *RESUME, *more))
    assert re.search(message, str(refused.value)), refused.value
    assert len(str(refused.value).splitlines()) < 12
    assert (stopped / "adapter_model.safetensors").read_bytes() == before


def test_a_run_that_keeps_its_last_epoch_goes_on_from_there(small, tmp_path):
    """Trainer would keep the checkpoint of the best epoch, and more epochs would repeat others."""
    out = tmp_path / "out"
    more = ["--num_train_epochs", "3", "--per_device_train_batch_size", "8"]
    more += ["--learning_rate", "0.3"]  # so bad that the first epoch stays the best
    classify.main(flags(small, out, *CLASSIFY, *more))
    assert [folder.name for folder in out.glob("checkpoint-*")] == ["checkpoint-18"]


def test_more_epochs_and_the_same_step_in_other_parts_go_on(small, stopped, tmp_path, capsys):
    out = shutil.copytree(stopped, tmp_path / "out")
    parts = ["--per_device_train_batch_size", "4", "--gradient_accumulation_steps", "2"]
    longer = ["--num_train_epochs", "2"]
    classify.main(flags(small, out, *CLASSIFY, *SHORT, *RESUME, *parts, *longer))
    said = capsys.readouterr().out
    assert "from here on --num_train_epochs: 1.0 then, 2.0 now" in said
    assert "epoch 2/2  step 12/12" in said


def test_a_checkpoint_that_says_nothing_goes_on_with_a_note(small, stopped, tmp_path, capsys):
    out = shutil.copytree(stopped, tmp_path / "out")
    (out / "checkpoint-6" / FILE).unlink()
    classify.main(flags(small, out, *CLASSIFY, *SHORT, *RESUME, "--num_train_epochs", "2"))
    assert "does not say what it was trained with" in capsys.readouterr().out


def test_a_folder_that_is_no_checkpoint_is_refused_with_the_one_inside(small, stopped):
    asked = ["--resume_from_checkpoint", str(stopped)]
    with pytest.raises(AdaptkitError, match="no whole checkpoint.* mean .*/checkpoint-6"):
        classify.main(flags(small, stopped, *CLASSIFY, *SHORT, *asked))


def test_the_last_checkpoint_is_that_of_the_last_run(stopped, tmp_path):
    out = shutil.copytree(stopped, tmp_path / "out")
    old = shutil.copytree(out / "checkpoint-6", out / "checkpoint-300")
    record = json.loads((old / FILE).read_text())
    (old / FILE).write_text(json.dumps(record | {"started": record["started"] - 60}))
    assert last_whole_checkpoint(out).name == "checkpoint-6"


def test_pushing_to_a_hub_that_cannot_be_reached_is_refused_before_training(small, tmp_path):
    with pytest.raises(AdaptkitError, match=r"--push_to_hub: .*hf upload NAME .*/out publishes"):
        classify.main(flags(small, tmp_path / "out", *CLASSIFY, *SHORT, "--push_to_hub"))
    assert not (tmp_path / "out").exists()
