"""The public names: what editors see is what there is, and names of the version before warn."""

import ast
import warnings
from pathlib import Path

import pytest

import adaptkit
from adaptkit import AdaptkitError, Host
from tests.tiny import tiny

SOURCE = Path(adaptkit.__file__)


def test_what_editors_see_is_what_is_loaded():
    tree = ast.parse(SOURCE.read_text("utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.asname: node.module for node in block.body for alias in node.names}
    assert seen == adaptkit._HOME
    assert set(adaptkit.__all__) == {*seen, "__version__"}
    assert (SOURCE.parent / "py.typed").is_file()


@pytest.mark.parametrize(
    "old, new", [("parse", "parse_method"), ("Extras", "TrainerOptions"), ("Part", "EncodedSplit")]
)
def test_renamed_names_warn_and_work(old, new):
    with pytest.warns(FutureWarning, match=f"adaptkit.{old} is adaptkit.{new} now"):
        assert getattr(adaptkit, old) is getattr(adaptkit, new)


def test_the_room_of_a_host_is_its_slot_capacity():
    with pytest.warns(FutureWarning, match="slot_capacity"):
        host = Host(tiny("bert"), slots=1, room="lora[r=2]")
    assert host.slot_capacity == ["lora[r=2]"]
    with pytest.raises(AdaptkitError, match="give slot_capacity alone"):
        Host(tiny("bert"), room="lora[r=2]", slot_capacity="lora[r=4]")
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)
        assert Host(tiny("bert"), slots=1).slot_capacity == ["lora[r=16]"]


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        adaptkit.nothing  # noqa: B018


def test_every_public_name_is_there():
    for name in adaptkit.__all__:
        assert getattr(adaptkit, name) is not None
    assert set(adaptkit.__all__) == set(dir(adaptkit))
    with pytest.raises(AttributeError):
        _ = adaptkit.nothing
