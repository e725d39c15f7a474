"""One line of progress in a log file: epoch, loss, score, time left; no dictionaries, no bars."""

import json
import math
import re

import pytest
from adaptkit.recipes import classify
from transformers import TrainerState

from adaptkit.training.checkpoints import last_whole_checkpoint
from adaptkit.training.progress import Progress, duration
from tests.helpers.small import CLASSIFY, flags

ROWS = "".join(
    f"{'good' if i % 2 else 'bad'} thing {i}\t{'yes' if i % 2 else 'no'}\n" for i in range(40)
)


@pytest.mark.parametrize(
    "seconds, words", [(0.2, "0 s"), (59, "59 s"), (72, "1 min 12 s"), (7500, "2 h 5 min")]
)
def test_time_in_words(seconds, words):
    assert duration(seconds) == words


def test_the_line_names_epoch_step_loss_score_and_time_left():
    progress = Progress("f1_micro")
    state = TrainerState(epoch=2.0, num_train_epochs=8, global_step=20, max_steps=80)
    progress._first, progress._loss, progress._score = 0, 0.41234, 0.87654
    line = progress.line(state, seconds=10.0)
    assert line == "epoch 2/8  step 20/80  loss 0.412  f1 micro 0.8765  30 s left"


def test_a_resumed_training_counts_its_own_steps_alone():
    progress = Progress("f1")
    state = TrainerState(epoch=6.0, num_train_epochs=8, global_step=60, max_steps=80)
    progress._first = 50
    assert progress.line(state, seconds=10.0).endswith("20 s left")


@pytest.mark.parametrize("more", [[], ["--disable_tqdm", "true"], ["--eval_strategy", "no"]])
def test_a_training_prints_a_line_an_epoch_and_nothing_else(tmp_path, capfd, more):
    (tmp_path / "rows.tsv").write_text("text\tlabel\n" + ROWS)
    flags = ["--train_file", str(tmp_path / "rows.tsv"), "--num_train_epochs", "3"]
    classify.main([*flags, *more, "--output_dir", str(tmp_path / "out")])
    captured = capfd.readouterr()
    lines = [line for line in captured.out.splitlines() if line.startswith("epoch ")]
    assert [line.split()[1] for line in lines] == ["1/3", "2/3", "3/3"]
    assert ("accuracy" in lines[0]) is ("no" not in more)
    assert re.search(r"loss [\d.e-]+ .* s left$", lines[1])
    assert lines[2].endswith("done")
    assert "{'" not in captured.out + captured.err
    assert "it/s" not in captured.out + captured.err


@pytest.mark.parametrize(
    "more",
    [
        ["--per_device_train_batch_size", "7"],  # the last step of an epoch has fewer rows
        ["--per_device_train_batch_size", "4", "--gradient_accumulation_steps", "2"],
        ["--eval_strategy", "steps", "--eval_steps", "2", "--per_device_train_batch_size", "12"],
    ],
)
def test_the_loss_is_the_mean_of_the_epoch_however_often_it_is_logged(
    small, tmp_path, capsys, more
):
    words = [*CLASSIFY, "--head_start", "random", "--num_train_epochs", "3", *more]
    printed = []
    for every in ("1", "4", "1000"):
        out = tmp_path / every
        classify.main(flags(small, out, *words, "--logging_steps", every))
        lines = [one for one in capsys.readouterr().out.splitlines() if one.startswith("epoch ")]
        printed.append([re.match(r"epoch (\S+)/.* loss (\S+) ", line).groups() for line in lines])
    assert printed[0] == printed[1] == printed[2]
    state = json.loads(
        last_whole_checkpoint(tmp_path / "1").joinpath("trainer_state.json").read_text()
    )
    steps = [(one["epoch"], one["loss"]) for one in state["log_history"] if "loss" in one]
    assert len(printed[0]) >= 3
    for epoch, loss in printed[0]:
        begins = math.ceil(float(epoch)) - 1
        # log_history has epochs in full, lines three digits of them
        mine = [one for at, one in steps if begins < at < float(epoch) + 0.005]
        assert float(loss) == pytest.approx(sum(mine) / len(mine), rel=6e-3)
