"""adaptkit combine and mix write over nothing."""

import pytest

from adaptkit import AdaptkitError, cli
from tests.helpers.minilm import BASE, make


def test_outputs_are_not_written_over_something(tmp_path):
    parts = [make(tmp_path, "a"), make(tmp_path, "b")]
    for command in (
        ["mix", BASE, "--num_hidden_layers", "3", "--output_dir", str(parts[0])],
        ["combine", *map(str, parts), "--output_dir", str(parts[0])],
        ["combine", *map(str, parts), "--how", "stack", "--output_dir", str(parts[0])],
    ):
        with pytest.raises(AdaptkitError, match="not empty"):
            cli.main(command)
    with pytest.raises(AdaptkitError, match="takes no --weights"):
        cli.main(
            [
                "combine",
                *map(str, parts),
                "--how",
                "stack",
                "--weights",
                "1",
                "2",
                "--output_dir",
                str(tmp_path / "new"),
            ]
        )
