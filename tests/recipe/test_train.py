"""A training in which nothing is learned is noticed after its first evaluation."""

import json

import pytest
from adaptkit.recipes import classify

from adaptkit.training import callbacks
from tests.helpers.small import flags

# the rate rises so slowly that the first epoch changes nothing, and a prior has one answer
SLOW = ["--head_start", "prior", "--lr_scheduler_type", "constant_with_warmup"]
SLOW += ["--warmup_steps", "1000000", "--num_train_epochs", "2", "--logging_steps", "1"]
SLOW += ["--per_device_train_batch_size", "2"]


def _train(small, out, *more):
    words = ["--label_column", "sentiment", "--max_seq_length", "64"]
    classify.main(flags(small, out, *words, *SLOW, *more))
    state = json.loads(next(out.glob("checkpoint-*/trainer_state.json")).read_text())
    return state, (out / "README.md").read_text()


def test_it_starts_again_with_a_lower_rate_and_says_so(small, tmp_path, capsys):
    state, card = _train(small, tmp_path / "out")
    printed = capsys.readouterr().out
    assert "has learned nothing about the texts. Training starts again" in printed
    assert "--learning_rate 0.000333333" in printed
    assert card.count("This one was trained with --learning_rate 0.000333333") == 1
    assert state["epoch"] == 2.0  # the second one goes to its end, whatever it learns
    rates = [entry["learning_rate"] for entry in state["log_history"] if "learning_rate" in entry]
    steps = state["global_step"]
    assert max(rates) == (steps - 1) / 1_000_000 * 1e-3 / 3


def test_a_rate_of_the_user_is_kept(small, tmp_path, capsys):
    state, card = _train(small, tmp_path / "out", "--learning_rate", "1e-3")
    assert "starts again" not in capsys.readouterr().out
    assert "This one was trained with" not in card
    assert state["epoch"] == 2.0


@pytest.mark.parametrize("seconds, again", [(60.0, True), (0.0, False)])
def test_only_a_short_training_starts_again_after_its_end(
    small, tmp_path, capsys, monkeypatch, seconds, again
):
    monkeypatch.setattr(callbacks, "SHORT", seconds)
    state, card = _train(small, tmp_path / "out", "--num_train_epochs", "1")
    printed = capsys.readouterr().out
    assert ("starts again" in printed) is again
    assert ("This one was trained with" in card) is again
    assert "has learned nothing about the texts. Try another --seed, a lower" in printed
    assert state["epoch"] == 1.0


def test_a_run_that_learns_goes_on(small, tmp_path, capsys):
    for name in ("train", "dev"):
        rows = [{"text": f"{word} the thing", "sentiment": word} for word in ("good", "bad")] * 12
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    files = ["--train_file", str(tmp_path / "train.jsonl")]
    files += ["--validation_file", str(tmp_path / "dev.jsonl")]
    _train(small, tmp_path / "out", *files, "--warmup_steps", "0", "--head_start", "probe")
    assert "starts again" not in capsys.readouterr().out
