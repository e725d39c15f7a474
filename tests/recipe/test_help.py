"""Asked for help, every script shows it and does nothing else."""

import pytest

from tests.processes import ROOT, run

SCRIPTS = sorted(path for path in (ROOT / "recipes").glob("*.py") if path.stem != "__init__")


def test_there_are_scripts():
    assert len(SCRIPTS) == 14


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_a_recipe_shows_its_help(script, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for words in ([str(script)], ["-m", f"adaptkit.recipes.{script.stem}"]):
        done = run(*words, "--help")
        assert done.stdout.startswith("usage: ")
        assert "===" not in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_the_package_is_the_command():
    for module in ("adaptkit", "adaptkit.cli"):
        assert "Train, combine, evaluate" in run("-m", module, "--help").stdout


def test_the_demo_takes_no_flags():
    refused = run(str(ROOT / "recipes/demo.py"), "--epochs", code=2)
    assert "unrecognized arguments: --epochs" in refused.stderr
