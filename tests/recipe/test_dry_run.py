"""A check says what fails, and where."""

import importlib

import pytest

from adaptkit import AdaptkitError


def run(name: str, flags: list[str]) -> None:
    importlib.import_module(f"adaptkit.recipes.{name}").main(flags)


def test_check_says_fail_and_where(tmp_path, capsys):
    (tmp_path / "a.jsonl").write_text('{"text": "abc", "entities": [[0, 9, "x"]]}\n')
    with pytest.raises(AdaptkitError, match="cannot be used"):
        run(
            "tag",
            [
                "--check",
                "--train_file",
                str(tmp_path / "a.jsonl"),
                "--output_dir",
                str(tmp_path / "o"),
            ],
        )
    assert "fail" in capsys.readouterr().out
