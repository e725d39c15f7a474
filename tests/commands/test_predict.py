"""adaptkit predict: flags before and behind the texts, and tasks that have no answers."""

import pytest
from adaptkit.recipes import pretrain

from adaptkit import AdaptkitError
from adaptkit.cli import main
from tests.helpers.rows import TWO_STEPS


def test_flags_may_stand_before_the_text(folders, capsys):
    main(["predict", str(folders / "one"), "--batch_size", "2", "hi", "there"])
    assert len(capsys.readouterr().out.splitlines()) == 2
    for words in (["--batch_size", "0", "hi"], ["hi", "--bach_size", "1"]):
        with pytest.raises(SystemExit) as stop:
            main(["predict", str(folders / "one"), *words])
        assert stop.value.code == 2


@pytest.mark.slow
def test_a_language_has_no_answers_and_says_so(tmp_path, rows):
    pretrain.main(["--train_file", rows, *TWO_STEPS, "--output_dir", str(tmp_path / "out")])
    with pytest.raises(
        AdaptkitError, match="pretrain learns a language and has no answers; adaptkit.pipeline"
    ):
        main(["predict", str(tmp_path / "out"), "Hello [MASK]."])
