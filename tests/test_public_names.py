"""The public names: what editors see is what there is."""

import ast
import tomllib
from pathlib import Path

import pytest

import adaptkit

SOURCE = Path(adaptkit.__file__)


def test_what_editors_see_is_what_is_loaded():
    tree = ast.parse(SOURCE.read_text("utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.asname: node.module for node in block.body for alias in node.names}
    assert seen == adaptkit._HOME
    assert set(adaptkit.__all__) == {*seen, "__version__"}
    assert (SOURCE.parent / "py.typed").is_file()


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        adaptkit.nothing  # noqa: B018


def test_every_public_name_is_there():
    for name in adaptkit.__all__:
        assert getattr(adaptkit, name) is not None
    assert set(adaptkit.__all__) == set(dir(adaptkit))
    with pytest.raises(AttributeError):
        _ = adaptkit.nothing


def test_every_folder_of_the_package_is_installed():
    root = SOURCE.parents[1]
    settings = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]
    folders = {path.parent for path in SOURCE.parent.rglob("__init__.py")}
    names = {".".join(folder.relative_to(root).parts) for folder in folders}
    assert len(names) > 20
    assert set(settings["packages"]) == names | set(settings["package-dir"])
