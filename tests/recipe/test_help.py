"""Asked for help, every script shows it and does nothing else; soon."""

import importlib
import re
import subprocess
import sys

import pytest

from adaptkit.cli import main
from adaptkit.commands.train import NOT_CHECKED
from adaptkit.recipe.registry import SCRIPTS as SCRIPT_NAMES
from tests.processes import ROOT, run

SCRIPTS = sorted(path for path in (ROOT / "recipes").glob("*.py") if path.stem != "__init__")


def test_there_are_scripts():
    assert len(SCRIPTS) == 15


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


def test_help_imports_no_library_that_takes_seconds():
    """In a process of its own: those of the other tests have imported everything."""
    code = """
import contextlib, io, sys
from adaptkit.cli import main
from adaptkit.recipe.registry import SCRIPTS

for name in SCRIPTS:
    shown = io.StringIO()
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(shown):
        main(["train", name, "--help"])
    assert shown.getvalue().startswith(f"usage: adaptkit train {name} "), shown.getvalue()[:99]
print(len(SCRIPTS), *{"torch", "transformers", "datasets", "peft", "pandas"} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("14\n", "")


@pytest.mark.parametrize("name", SCRIPT_NAMES)
def test_the_usage_says_how_the_recipe_was_called(name, monkeypatch, capsys):
    script = importlib.import_module(f"adaptkit.recipes.{name}")
    monkeypatch.setattr(sys, "argv", [f"recipes/{name}.py", "--help"])
    calls = {f"{name}.py": script.main, f"adaptkit train {name}": lambda: script.main(["--help"])}
    if name not in NOT_CHECKED:
        calls[f"adaptkit check {name}"] = lambda: main(["check", name, "--help"])
    for shown, call in calls.items():
        with pytest.raises(SystemExit):
            call()
        assert capsys.readouterr().out.startswith(f"usage: {shown} [")


@pytest.mark.parametrize("name", SCRIPT_NAMES)
def test_a_default_is_shown_once(name, capsys):
    with pytest.raises(SystemExit):
        main(["train", name, "--help"])
    flags = re.split(r"\n  (?=--)", capsys.readouterr().out)
    assert len(flags) > 5
    assert [flag for flag in flags if flag.count("(default:") > 1] == []
