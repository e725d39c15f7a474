"""Options of a host that are none, and names that are none."""

import pytest

from adaptkit import AdaptkitError, Host, load_base
from tests.tiny import tiny


@pytest.mark.parametrize("name, close", [("rom", None), ("max_row", "max_rows"), ("task", None)])
def test_a_misspelled_option_names_those_of_a_host(root, name, close):
    """Before, the names of the model's configuration were listed."""
    hint = f"; did you mean '{close}'\\?" if close else r"\."
    message = rf"Host has no option '{name}'{hint} It takes slots, slot_capacity, tokenizer, max_"
    for make in (
        lambda: Host(str(root / "base"), **{name: 3}),
        lambda: Host.from_store(root / "store", **{name: 3}),
        lambda: Host(tiny("bert"), **{name: 3}),
    ):
        with pytest.raises(AdaptkitError, match=message) as refusal:
            make()
        assert "vocab_size" not in str(refusal.value)


def test_a_setting_of_the_configuration_is_an_option(root):
    host = Host(str(root / "base"), slots=1, layer_norm_eps=1e-3)
    assert host.backbone.model.config.layer_norm_eps == 1e-3
    with pytest.raises(
        AdaptkitError, match="load_base has no option 'quantise'; did you mean 'qua"
    ):
        load_base(str(root / "base"), quantise="int8")


@pytest.mark.parametrize("name", [["a0", "a1"], None, 5, {"a": 1}])
def test_unload_takes_one_name(host, root, name):
    with pytest.raises(AdaptkitError, match="unload takes one name"):
        host.unload(name)
    with pytest.raises(AdaptkitError, match="unload takes one name"):
        Host.from_store(root / "store", slots=1).unload(name)
    assert host.names() == ["a0", "a1", "a2"]
