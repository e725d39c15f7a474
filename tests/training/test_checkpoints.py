"""Checkpoints that are whole."""

from adaptkit.training.checkpoints import last_whole_checkpoint


def test_a_checkpoint_that_was_cut_short_is_passed_over(tmp_path):
    for step, state in ((5, "{}"), (10, "{}"), (20, '{"epoch": 1')):
        (tmp_path / f"checkpoint-{step}").mkdir()
        (tmp_path / f"checkpoint-{step}/trainer_state.json").write_text(state)
    (tmp_path / "checkpoint-30").mkdir()
    assert last_whole_checkpoint(tmp_path).name == "checkpoint-10"
    assert last_whole_checkpoint(tmp_path / "checkpoint-30") is None
