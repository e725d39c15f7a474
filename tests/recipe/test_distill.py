"""A student is checked before its teacher runs."""

import pytest
from adaptkit.recipes import distill

from adaptkit import AdaptkitError
from tests.helpers.minilm import make


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        (["--student", "bilstmm"], "bilstm"),
        (["--student", "cnn", "--folds", "3"], "not support --folds"),
        (["--student", "cnn", "--check"], "adaptkit check classify"),
        (["--student_layers", "9", "--layer_map", "last"], "fewer than the 9"),
    ],
)
def test_a_student_is_checked_before_its_teacher_runs(warm_rows, flags, problem):
    folder, files = warm_rows
    with pytest.raises(AdaptkitError, match=problem):
        distill.main(
            [
                *files,
                *flags,
                "--teacher",
                str(make(folder, "teacher", labels=("bad", "good"))),
                "--output_dir",
                str(folder / "no"),
            ]
        )
    assert not (folder / "no").exists()
