"""Files that name many tasks."""

import pytest

from adaptkit import AdaptkitError
from adaptkit.recipe.task_file import read_tasks


def test_names_are_given_once_and_are_no_checkpoints(tmp_path):
    file = tmp_path / "tasks.yaml"
    file.write_text("a: {recipe: classify}\nb: {recipe: tag}\na: {recipe: tag}\n")
    with pytest.raises(AdaptkitError, match=r"tasks.yaml:1: a stands there twice"):
        read_tasks(str(file))
    file.write_text("checkpoint-5: {recipe: classify}\nb: {recipe: tag}\n")
    with pytest.raises(AdaptkitError, match="no checkpoint-NUMBER"):
        read_tasks(str(file))
